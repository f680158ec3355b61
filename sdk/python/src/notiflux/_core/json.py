"""JSON as the server reads and writes it (RFC 8259)."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, NoReturn


class BadJSON(ValueError):
    """A text is not the JSON that was expected."""


def _integer(text: str) -> int | Decimal:
    try:
        return int(text)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        return Decimal(text)


def _constant(name: str) -> NoReturn:
    raise BadJSON(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_int=_integer, parse_constant=_constant)


def _encoder(ensure_ascii: bool) -> json.JSONEncoder:
    return json.JSONEncoder(
        allow_nan=False, separators=(",", ":"), check_circular=True, ensure_ascii=ensure_ascii
    )


_ENCODER = _encoder(ensure_ascii=False)
_ASCII_ENCODER = _encoder(ensure_ascii=True)


def encode(value: object) -> bytes:
    """Return value as compact JSON. It raises TypeError or ValueError if that is impossible."""
    try:
        return _ENCODER.encode(value).encode()
    except UnicodeEncodeError:  # half a character, which the server refuses
        return _ASCII_ENCODER.encode(value).encode("ascii")


def decode(text: str | bytes) -> Any:
    """Return the value of a JSON text. It raises BadJSON if text is not one."""
    try:
        return _DECODER.decode(text if isinstance(text, str) else text.decode())
    except (ValueError, RecursionError) as error:
        raise BadJSON(str(error)) from None


def decode_object(text: str | bytes) -> dict[str, Any]:
    """Return a JSON object. It raises BadJSON if text is not one."""
    value = decode(text)
    if not isinstance(value, dict):
        raise BadJSON("not an object")
    return value
