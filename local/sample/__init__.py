"""Open WebUI's data for rehearsals and tests: a real store, and made ones. Nothing that serves it.

sample = extract(directory)                                     # the real one, shipped with the project
store = generate(directory, chunks=10_000, defects=["nul-text"])    # a made one
load_sql(sample.app_sql, database_url)                          # its application database, without psql
"""

from local.sample.defects import DEFECTS
from local.sample.generate import generate
from local.sample.shipped import SamplePaths, extract
from local.sample.sql_dump import load_sql

__all__ = ["DEFECTS", "SamplePaths", "extract", "generate", "load_sql"]
