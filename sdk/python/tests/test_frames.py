"""What the server sends, by its vectors."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from vectors import entries, names

from notiflux import Member, NotifluxError
from notiflux._core.frames import ErrorFrame, PresenceFrame, read
from notiflux._core.json import BadJSON

UNUSED = {
    "frame-authenticated",
    "frame-broadcasted",
    "frame-history",
    "frame-pong",
    "frame-hello",
}
NAMES = [name for name in (*names("frame"), "message") if name not in UNUSED]


def matches(found: Any, want: Any) -> bool:
    """Report whether what was read says the same as the JSON value."""
    if isinstance(found, (Member, NotifluxError)):
        names = ("sub", "info") if isinstance(found, Member) else ("code", "message")
        return all(getattr(found, name) == want.get(name) for name in names)
    if is_dataclass(found):
        return all(
            matches(getattr(found, field.name), want.get(field.name)) for field in fields(found)
        )
    if isinstance(found, list):
        return len(found) == len(want) and all(map(matches, found, want))
    if isinstance(found, dict):
        return found.keys() == (want or {}).keys() and all(
            matches(found[k], want[k]) for k in found
        )
    return bool(found == want)


@pytest.mark.parametrize("name", NAMES)
def test_valid(name: str) -> None:
    for entry in entries(name, "valid"):
        value = dict(entry["value"])
        frame: Any = read(entry["frame"])
        if value["type"] == "welcome":
            limits = value["limits"]
            value |= {"command": limits["command"], "topics": limits["topics"]}
            value["topics_per_command"] = limits["topicsPerCommand"]
            value["commands_per_second"] = limits["commandsPerSecond"]
        elif value["type"] == "unsubscribed":
            value.setdefault("patterns", [])
        elif value["type"] == "message":
            value["time"] = frame.time
        elif value["type"] == "bye":
            value["after"] = value["after"] / 1000
        elif value["type"] == "skipped":
            value |= {"since": value["from"], "position": value["to"]}
        elif value["type"] == "gap" and "pattern" in value:
            value["topic"] = value["pattern"]
        elif value["type"] in ("join", "leave") and "member" in value:
            value["members"] = [value["member"]]
        elif isinstance(frame, PresenceFrame):
            value["event"] = value
        elif isinstance(frame, ErrorFrame):
            value["error"] = value
            assert frame.error.retry == value["retry"]
        assert matches(frame, value), (entry["name"], frame)


@pytest.mark.parametrize("name", NAMES)
def test_invalid(name: str) -> None:
    for entry in entries(name, "invalid"):
        with pytest.raises(BadJSON):
            read(entry["input"])


@pytest.mark.parametrize("name", sorted(UNUSED))
def test_unused(name: str) -> None:
    for entry in entries(name, "valid"):
        assert read(entry["frame"]) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type":1}', "null", '{"type":"message"'])
def test_no_frame(text: str) -> None:
    with pytest.raises(BadJSON):
        read(text)


def test_unknown_types_and_members_are_ignored() -> None:
    assert read('{"type":"dance","with":"me"}') is None
    frame: Any = read('{"type":"gap","topic":"a","position":"E:1","new":[1]}')
    assert frame.position == "E:1"
