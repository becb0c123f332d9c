"""Rows on their way: as they were read, cleaned, and as COPY's bytes. No file of Chroma and no table."""
