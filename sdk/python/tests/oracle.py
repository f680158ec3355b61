"""Judges what a loop got of a topic: each message once and in order, or a loss is announced."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from notiflux import LostError, Message, NotifluxError, Position, Skipped, Subscribed
from notiflux._core.position import epoch_of, offset_of
from notiflux.events import Event


class Log:
    """The messages of a topic, as their publisher knows them."""

    def __init__(self) -> None:
        self._offsets: dict[str, list[int]] = {}
        self._data: dict[str, object] = {}
        self.head: Position | None = None

    def add(self, position: Position, data: object) -> None:
        assert position not in self._data, f"{position} is used twice"
        offsets = self._offsets.setdefault(epoch_of(position), [])
        assert not offsets or offsets[-1] < offset_of(position), f"{position} is out of order"
        offsets.append(offset_of(position))
        self._data[position] = data
        self.head = position

    def after(self, position: str) -> str | None:
        """Return the position of the first message after a position."""
        offsets = self._offsets.get(epoch_of(position), [])
        at = bisect_right(offsets, offset_of(position))
        return f"{epoch_of(position)}:{offsets[at]}" if at < len(offsets) else None

    def data(self, position: str) -> object:
        return self._data[position]

    def __len__(self) -> int:
        return len(self._data)


@dataclass
class Verdict:
    """What a loop got."""

    position: Position | None
    received: int = 0
    resumed: int = 0
    lost: int = 0
    skipped: int = 0


def judge(
    log: Log, events: Iterable[Event | NotifluxError], since: Position | None = None
) -> Verdict:
    """Raise AssertionError for the first fault."""
    v = Verdict(since)
    for event in events:
        where = (event, v)
        if isinstance(event, LostError):
            assert event.since == v.position, where
            v.lost += 1
        elif isinstance(event, Message):
            assert v.position is not None, where
            assert event.position == log.after(v.position), (where, log.after(v.position))
            assert event.data == log.data(event.position), where
            v.received += 1
        elif isinstance(event, Subscribed):
            assert v.position in (None, event.position), where
            v.resumed += event.resumed
        elif isinstance(event, Skipped):
            assert event.since == v.position, where
            v.skipped += 1
        else:
            assert not isinstance(event, NotifluxError), where
            continue
        v.position = event.position
    return v


def at_rest(log: Log, verdict: Verdict, position: str) -> None:
    """Raise AssertionError if the loop is not where the server is."""
    assert verdict.position is not None
    assert log.after(verdict.position) is None, (verdict, position)
    assert epoch_of(position) == epoch_of(verdict.position), (verdict, position)
