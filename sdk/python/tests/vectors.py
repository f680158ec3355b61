"""The vectors of the protocol: internal/wire/testdata."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(
    os.environ.get("VECTORS") or Path(__file__).parents[3] / "internal" / "wire" / "testdata"
)


def names(kind: str) -> list[str]:
    """Return the names of the files for a kind, like frame."""
    return sorted(path.stem for path in FOLDER.glob(f"{kind}*.json"))


def entries(name: str, part: str) -> Iterator[dict[str, Any]]:
    """Return the entries of a part, valid or invalid, of a file."""
    found = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))[part]
    assert found, name
    yield from found
