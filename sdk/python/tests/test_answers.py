"""What the server answers over HTTP, by its vectors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

import pytest
from vectors import entries

from notiflux import History, Member, Message, NotifluxError, Position, Presence
from notiflux._core import answers
from notiflux._core.json import BadJSON, decode, decode_object, encode
from notiflux._core.position import covers, epoch_of, is_position, offset_of

READERS: dict[str, Callable[[str], object]] = {
    "http-history": lambda text: answers.history(decode_object(text)),
    "http-presence": lambda text: answers.presence(decode_object(text)),
    "http-broadcast": lambda text: answers.published(text.encode(), text[0] != "["),
    "message": lambda text: answers.message(decode_object(text)),
}


@pytest.mark.parametrize("name", READERS)
def test_valid(name: str) -> None:
    for entry in entries(name, "valid"):
        read = READERS[name](entry["frame"])
        value = entry["value"]
        if isinstance(read, History):
            assert [m.data for m in read.messages] == [m["data"] for m in value["messages"]]
            assert [m.position for m in read.messages] == [m["position"] for m in value["messages"]]
            assert (read.position, read.recovered, read.more) == (
                value["position"],
                value["recovered"],
                value["more"],
            )
        elif isinstance(read, Presence):
            members = [Member(m["sub"], m.get("info")) for m in value["members"]]
            assert (read.count, read.subscribers) == (value["count"], value["subscribers"])
            assert read.members == members
        elif isinstance(read, Message):
            assert read.data == value["data"], entry["name"]
            assert (read.topic, read.position) == (value["topic"], value["position"])
            assert read.time.timestamp() * 1000 == pytest.approx(value["time"])
        else:
            results = value if isinstance(value, list) else [value]
            assert isinstance(read, list)
            for result, want in zip(read, results, strict=True):
                if isinstance(result, NotifluxError):
                    assert (result.code, result.message, result.topic) == (
                        want["error"]["code"],
                        want["error"]["message"],
                        want.get("topic"),
                    )
                else:
                    assert result == want["position"]


@pytest.mark.parametrize("name", READERS)
def test_invalid(name: str) -> None:
    for entry in entries(name, "invalid"):
        with pytest.raises(BadJSON):
            READERS[name](entry["input"])


def test_problems() -> None:
    for entry in entries("http-problem", "valid"):
        value = entry["value"]
        error = answers.problem(value["status"], entry["frame"].encode())
        assert (error.code, error.message, error.status) == (
            value["code"],
            value["detail"],
            value["status"],
        )
        assert error.retry == (value["status"] >= 500)
    for entry in entries("http-problem", "invalid"):
        error = answers.problem(400, entry["input"].encode())
        assert (error.code, error.retry) == ("refused", False)


@pytest.mark.parametrize(
    ("status", "retry"), [(400, False), (404, False), (429, True), (502, True), (504, True)]
)
def test_answer_of_a_proxy(status: int, retry: bool) -> None:
    error = answers.problem(status, b"<html>Sorry</html>")
    assert (error.code, error.status, error.retry) == ("refused", status, retry)
    assert str(status) in str(error)


def test_positions() -> None:
    for entry in entries("position", "valid"):
        assert is_position(entry["position"])
        assert epoch_of(entry["position"]) == entry["epoch"]
        assert offset_of(entry["position"]) == int(entry["offset"])
    for entry in entries("position", "invalid"):
        assert not is_position(entry["input"]), entry["name"]
    assert not is_position(None)
    assert covers("E:10", "E:9")
    assert covers("E:10", "E:10")
    assert not covers("E:9", "E:10")
    assert not covers("E:10", "F:9")


def test_time_is_in_utc() -> None:
    text = '{"type":"message","topic":"a","position":"E:1","time":1790000000043,"data":1}'
    want = datetime(2026, 9, 21, 14, 13, 20, 43000, tzinfo=timezone.utc)
    assert answers.message(decode_object(text)).time == want


@pytest.mark.parametrize("text", ["NaN", "-Infinity", "[1,", "", "{'a':1}", "[" * 100_000, b"\xff"])
def test_not_json(text: str | bytes) -> None:
    with pytest.raises(BadJSON):
        decode(text)


def test_an_integer_of_any_length() -> None:
    digits = "9" * 10_000
    assert decode(digits) == Decimal(digits)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", Position])
def test_what_json_cannot_say(value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        encode(value)


def test_encoding_is_compact() -> None:
    # Escapes would make it larger than the server allows for a request.
    assert (
        encode({"é": ["🎉\u2028", None, True, 1.5]}) == '{"é":["🎉\u2028",null,true,1.5]}'.encode()
    )


def test_half_a_character_is_escaped() -> None:
    assert encode("é\ud800") == rb'"\u00e9\ud800"'
