import pytest

from local.sample import extract
from tests.load_test.fix_service import service


@pytest.fixture(scope="session")
def open_webui(tmp_path_factory, postgres):
    directory = tmp_path_factory.mktemp("service")
    with service(directory, postgres, extract(directory / "sample").app_sql) as found:
        yield found
