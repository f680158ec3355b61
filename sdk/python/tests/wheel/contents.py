"""Checks what is in the wheel and the source distribution in a folder."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from pathlib import Path

MOST_BYTES = 96 << 10


def main(folder: Path) -> None:
    """Raise AssertionError if something is missing, or there is something else."""
    (wheel,) = folder.glob("notiflux-*-py3-none-any.whl")
    package = {
        path.relative_to("src").as_posix()
        for path in Path("src").rglob("*")
        if path.is_file() and path.suffix in (".py", ".typed")
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        text = archive.read(metadata).decode()
    info = metadata.rpartition("/")[0]
    rest = {f"{info}/{name}" for name in ("METADATA", "WHEEL", "RECORD", "licenses/LICENSE")}
    assert "notiflux/py.typed" in package
    assert names == package | rest, names ^ (package | rest)
    assert "Requires-Python: >=3.10" in text
    assert "# notiflux for Python" in text
    assert wheel.stat().st_size <= MOST_BYTES, wheel.stat().st_size

    (source,) = folder.glob("notiflux-*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in package} <= names
    assert {"LICENSE", "README.md", "pyproject.toml", "tests/conftest.py"} <= names
    print(f"the wheel has {len(package)} files and {wheel.stat().st_size} bytes")


main(Path(sys.argv[1]))
