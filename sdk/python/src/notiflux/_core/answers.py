"""Reads what the server answers. All functions raise BadJSON for what it does not answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from notiflux._core.json import BadJSON, decode, decode_object
from notiflux._core.position import is_position
from notiflux.errors import NotifluxError
from notiflux.events import History, Member, Message, Position, Presence

_T = TypeVar("_T")
_START = datetime(1970, 1, 1, tzinfo=timezone.utc)
_RETRYABLE = frozenset(
    {"internal", "over_capacity", "outcome_unknown", "unavailable", "draining", "too_many"}
)


def member(value: Mapping[str, Any], name: str, kind: type[_T]) -> _T:
    """Return a member of an object that must have this type."""
    found = value.get(name)
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise BadJSON(f"{name} is missing or of a wrong type")
    return found


def number(value: Mapping[str, Any], name: str) -> int:
    """Return a member that must be a whole number, and not negative."""
    found = member(value, name, int)
    if found < 0:
        raise BadJSON(f"{name} is negative")
    return found


def topic(value: Mapping[str, Any]) -> str:
    """Return the topic that an object is about."""
    found = member(value, "topic", str)
    if not found:
        raise BadJSON("topic is empty")
    return found


def position(value: Mapping[str, Any], name: str = "position") -> Position:
    """Return a member that must be a position."""
    found = value.get(name)
    if not is_position(found):
        raise BadJSON(f"{name} is not a position")
    return Position(str(found))


def objects(value: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """Return a member that must be a list of objects."""
    found = member(value, name, list)
    if not all(isinstance(entry, dict) for entry in found):
        raise BadJSON(f"{name} is not a list of objects")
    return found


def message(value: Mapping[str, Any]) -> Message:
    """Return the message of a message object."""
    if value.get("type") != "message" or "data" not in value:
        raise BadJSON("not a message")
    try:
        time = _START + timedelta(milliseconds=number(value, "time"))
    except OverflowError:
        raise BadJSON("time is out of range") from None
    return Message(topic(value), value["data"], position(value), time)


def history(value: Mapping[str, Any]) -> History:
    """Return the history of an answer."""
    return History(
        [message(entry) for entry in objects(value, "messages")],
        position(value),
        member(value, "recovered", bool),
        member(value, "more", bool),
    )


def one_member(value: Mapping[str, Any]) -> Member:
    """Return a member of a topic."""
    info = value.get("info")
    if info is not None and not isinstance(info, dict):
        raise BadJSON("info is not an object")
    return Member(member(value, "sub", str), info)


def presence(value: Mapping[str, Any]) -> Presence:
    """Return the members of a topic."""
    topic(value)
    return Presence(
        number(value, "count"),
        number(value, "subscribers"),
        [one_member(entry) for entry in objects(value, "members")],
    )


def published(body: bytes, single: bool) -> list[Position | NotifluxError]:
    """Return the results of a publish: of one message, or of a list of them."""
    if single:
        value = decode_object(body)
        topic(value)
        return [position(value)]
    values = decode(body)
    if not isinstance(values, list):
        raise BadJSON("not a list")
    return [_result(value) for value in values]


def _result(value: object) -> Position | NotifluxError:
    if not isinstance(value, dict):
        raise BadJSON("not a list of objects")
    if "error" not in value:
        return position(value)
    error = member(value, "error", dict)
    name = value.get("topic")
    return refusal(error, topic=name if isinstance(name, str) else None)


def is_retryable(code: str, status: int | None = None) -> bool:
    """Report whether what was refused may succeed later."""
    if code == "refused" and status is not None:
        return status == 429 or status >= 500
    return code in _RETRYABLE


def refusal(
    value: Mapping[str, Any], *, topic: str | None = None, text: str = "message"
) -> NotifluxError:
    """Return the error of an object with a code and a text for people."""
    code = member(value, "code", str)
    return NotifluxError(code, member(value, text, str), topic=topic, retry=is_retryable(code))


def problem(status: int, body: bytes) -> NotifluxError:
    """Return the error of an HTTP answer without success, of the server or of a proxy."""
    try:
        value = decode_object(body)
        member(value, "title", str)
        member(value, "status", int)
        error = refusal(value, text="detail")
    except BadJSON:
        code = "refused"
        message = "the answer is not one of a notiflux server; check the address"
        retry = is_retryable(code, status)
        return NotifluxError(code, message, status=status, retry=retry)
    error.status = status
    # A code that this version does not know counts as its status says.
    error.retry = error.retry or (status >= 500 or status == 429)
    return error
