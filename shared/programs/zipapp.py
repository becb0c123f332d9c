"""Packs a package as a zipapp; the mover as `mover.pyz`, which runs with nothing but Python, numpy and psycopg.

The same sources give the same bytes, so a ConfigMap made from it only changes when the code does. The whole of it goes
into the ConfigMap's `binaryData` (at most 1 MiB), or, as `bootstrap()`, to a `python3 -c` that reads it from stdin.
"""

import io
import zipfile
from pathlib import Path

from shared import transfer

_MAIN = "from {package}.{module} import main\n\nif __name__ == '__main__':\n    raise SystemExit(main())\n"
_EPOCH = (1980, 1, 1, 0, 0, 0)

# `python3 -c "$BOOTSTRAP" probe --data /app/backend/data --sample 10 < mover.pyz`
BOOTSTRAP = (
    "import os,runpy,sys,tempfile;"
    "f=tempfile.NamedTemporaryFile(suffix='.pyz',delete=False);f.write(sys.stdin.buffer.read());f.close();"
    "sys.argv=[f.name,*sys.argv[1:]];"
    "exec('try:\\n runpy.run_path(f.name,run_name=\"__main__\")\\nfinally:\\n os.unlink(f.name)')"
)


def pack(package: Path = Path(transfer.__file__).parent, module: str = "commands") -> bytes:
    """Return the zipapp's bytes; it runs `main` of this module of the package."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        _write(archive, "__main__.py", _MAIN.format(package=package.name, module=module).encode())
        for path in sorted(package.rglob("*.py")):
            _write(archive, str(path.relative_to(package.parent)), path.read_bytes())
    return buffer.getvalue()


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)
