"""Reads the frames of the JSON protocol (docs/protocol.md, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from notiflux._core import answers
from notiflux._core.json import BadJSON, decode_object
from notiflux.errors import NotifluxError
from notiflux.events import Joined, Left, Member, Message, Position, Present, Skipped


@dataclass(frozen=True)
class Welcome:
    """The first frame."""

    connection: str
    command: int
    """The most bytes of a command."""
    topics: int
    topics_per_command: int
    commands_per_second: int


@dataclass(frozen=True)
class Confirmation:
    """What the server says about a topic that it subscribed to."""

    position: Position
    recovered: bool
    replay: int


@dataclass(frozen=True)
class SubscribedFrame:
    """The answer to a subscribe command."""

    id: int | None
    topics: dict[str, Confirmation]
    patterns: dict[str, Confirmation]
    refused: dict[str, NotifluxError]


@dataclass(frozen=True)
class UnsubscribedFrame:
    """Subscriptions have ended: as the client asked or, with a code, by the server."""

    topics: list[str]
    patterns: list[str]
    code: str | None


@dataclass(frozen=True)
class GapFrame:
    """Messages of a topic or a pattern were lost."""

    topic: str
    position: Position


@dataclass(frozen=True)
class PositionFrame:
    """The server has sent all messages of a pattern up to a position."""

    pattern: str
    position: Position


@dataclass(frozen=True)
class PresenceFrame:
    """The members of a topic, with an id as an answer."""

    id: int | None
    event: Present


@dataclass(frozen=True)
class ErrorFrame:
    """The answer to a command that was refused as a whole."""

    id: int | None
    error: NotifluxError


@dataclass(frozen=True)
class Bye:
    """The last frame."""

    code: str
    after: float
    """Seconds."""


Frame = (
    Welcome
    | SubscribedFrame
    | UnsubscribedFrame
    | GapFrame
    | PositionFrame
    | PresenceFrame
    | ErrorFrame
    | Bye
    | Message
    | Skipped
    | Joined
    | Left
)


def read(text: str) -> Frame | None:
    """Return a frame, or None for one that the client does not need. It raises BadJSON."""
    value = decode_object(text)
    reader = _READERS.get(answers.member(value, "type", str))
    return None if reader is None else reader(value)


def confirmations(value: Mapping[str, Any], name: str = "topics") -> dict[str, Confirmation]:
    """Return the confirmations by topic or pattern, as in the frames subscribed and hello."""
    entries = answers.member(value, name, dict)
    return {about: _confirmation(_object(entry)) for about, entry in entries.items()}


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadJSON("not an object")
    return value


def _confirmation(value: Mapping[str, Any]) -> Confirmation:
    return Confirmation(
        answers.position(value),
        answers.member(value, "recovered", bool),
        answers.number(value, "replay"),
    )


def _id(value: Mapping[str, Any]) -> int | None:
    return answers.number(value, "id") if "id" in value else None


def _welcome(value: Mapping[str, Any]) -> Welcome:
    answers.member(value, "version", str)
    answers.number(value, "ping")
    limits = answers.member(value, "limits", dict)
    return Welcome(
        answers.member(value, "connection", str),
        answers.number(limits, "command"),
        answers.number(limits, "topics"),
        answers.number(limits, "topicsPerCommand"),
        answers.number(limits, "commandsPerSecond"),
    )


def _subscribed(value: Mapping[str, Any]) -> SubscribedFrame:
    refused = answers.member(value, "refused", dict) if "refused" in value else {}
    errors = {name: answers.refusal(_object(entry), topic=name) for name, entry in refused.items()}
    patterns = confirmations(value, "patterns") if "patterns" in value else {}
    return SubscribedFrame(_id(value), confirmations(value), patterns, errors)


def _unsubscribed(value: Mapping[str, Any]) -> UnsubscribedFrame:
    topics = _strings(value, "topics")
    patterns = _strings(value, "patterns") if "patterns" in value else []
    code = answers.member(value, "code", str) if "code" in value else None
    return UnsubscribedFrame(topics, patterns, code)


def _strings(value: Mapping[str, Any], name: str) -> list[str]:
    found = answers.member(value, name, list)
    if not all(isinstance(text, str) for text in found):
        raise BadJSON(f"{name} is not a list of strings")
    return found


def _position(value: Mapping[str, Any]) -> PositionFrame:
    return PositionFrame(answers.member(value, "pattern", str), answers.position(value))


def _gap(value: Mapping[str, Any]) -> GapFrame:
    about = answers.member(value, "pattern", str) if "pattern" in value else answers.topic(value)
    return GapFrame(about, answers.position(value))


def _error(value: Mapping[str, Any]) -> ErrorFrame:
    error = answers.refusal(value)
    error.retry = answers.member(value, "retry", bool)
    return ErrorFrame(_id(value), error)


def _bye(value: Mapping[str, Any]) -> Bye:
    return Bye(answers.member(value, "code", str), answers.number(value, "after") / 1000)


def _members(value: Mapping[str, Any]) -> list[Member]:
    if ("member" in value) == ("members" in value):
        raise BadJSON("neither member nor members, or both")
    if "member" in value:
        return [answers.one_member(answers.member(value, "member", dict))]
    return [answers.one_member(entry) for entry in answers.objects(value, "members")]


def _presence(value: Mapping[str, Any]) -> PresenceFrame:
    event = Present(
        answers.topic(value),
        answers.number(value, "count"),
        answers.number(value, "subscribers"),
        _members(value) if "members" in value else None,
    )
    return PresenceFrame(_id(value), event)


_READERS: dict[str, Callable[[Mapping[str, Any]], Frame]] = {
    "welcome": _welcome,
    "subscribed": _subscribed,
    "unsubscribed": _unsubscribed,
    "message": answers.message,
    "skipped": lambda value: Skipped(
        answers.topic(value), answers.position(value, "from"), answers.position(value, "to")
    ),
    "gap": _gap,
    "position": _position,
    "join": lambda value: Joined(answers.topic(value), _members(value)),
    "leave": lambda value: Left(answers.topic(value), _members(value)),
    "presence": _presence,
    "error": _error,
    "bye": _bye,
}
