"""Positions: ``epoch:offset``. Offsets grow within a topic and an epoch."""

from __future__ import annotations

import re

_FORM = re.compile(r"[0-9A-Za-z]{1,64}:(0|[1-9][0-9]{0,19})", re.ASCII)
_MAX_OFFSET = 2**64 - 1


def is_position(text: object) -> bool:
    """Report whether text has the form of a position."""
    return (
        isinstance(text, str)
        and _FORM.fullmatch(text) is not None
        and offset_of(text) <= _MAX_OFFSET
    )


def epoch_of(position: str) -> str:
    """Return the epoch, which changes when the server loses its positions."""
    return position.partition(":")[0]


def offset_of(position: str) -> int:
    """Return the offset within the epoch."""
    return int(position.partition(":")[2])


def covers(position: str, other: str) -> bool:
    """Report whether other is position or comes before it, in the same epoch."""
    return epoch_of(position) == epoch_of(other) and offset_of(other) <= offset_of(position)
