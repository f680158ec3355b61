"""The events of one subscription on their way to its loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from notiflux.errors import LostError, NotifluxError
from notiflux.events import Event, Message, Position, Skipped

MAX_BYTES = 1 << 20
"""The most that an inbox holds, unless a single event is larger."""


@dataclass
class Entry:
    """An event, or a loss that is raised in its place."""

    event: Event | LostError
    size: int = 0
    topic: str | None = None
    since: Position | None = None
    """The position of the topic before the event."""
    position: Position | None = None
    """The position of the topic after the event; None: it does not change."""
    skipped: tuple[Position, Position] | None = None
    """The messages between these positions were left out in favour of this one."""


class Inbox:
    """A bounded queue. Its users hold the lock of the hub.

    ``wake`` is called when take may return something.
    """

    def __init__(self, limit: int, is_latest: bool, wake: Callable[[], None]) -> None:
        self.limit = limit
        self._is_latest = is_latest
        self._wake = wake
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._newest: dict[str, Entry] = {}
        """With is_latest, by topic: the last entry, if it is a message that is still here."""
        self._taken: Entry | None = None
        self._error: NotifluxError | None = None
        self.is_ended = False
        self.positions: dict[str, Position] = {}
        """By topic: up to where the loop has handled everything."""

    def put(self, entry: Entry, is_forced: bool = False) -> bool:
        """Add an entry. It reports False, and adds nothing, if there is no room."""
        if self.is_ended:
            return True
        topic = entry.topic or ""
        old = self._newest.get(topic)
        if old is not None and isinstance(entry.event, Message):
            self._replace(old, entry)
        else:
            is_full = len(self._entries) >= self.limit or self._bytes + entry.size > MAX_BYTES
            if is_full and self._entries and not is_forced:
                return False
            self._newest.pop(topic, None)
            if self._is_latest and isinstance(entry.event, Message):
                self._newest[topic] = entry
            self._entries.append(entry)
            self._bytes += entry.size
        self._wake()
        return True

    def _replace(self, old: Entry, new: Entry) -> None:
        """Leave out a message in favour of a newer one."""
        assert old.since is not None
        assert old.position is not None
        since = old.since if old.skipped is None else old.skipped[0]
        self._bytes += new.size - old.size
        old.event, old.size = new.event, new.size
        old.skipped = (since, old.position)
        old.since, old.position = new.since, new.position

    def end(self, error: NotifluxError | None) -> None:
        """Add nothing any more. With an error, the loop gets what is here first."""
        if self.is_ended:
            return
        self.is_ended = True
        self._error = error
        if error is None:
            self._entries.clear()
            self._newest.clear()
        self._wake()

    def handled(self) -> None:
        """Note that the loop has handled what it took last."""
        entry, self._taken = self._taken, None
        if entry is not None and entry.topic is not None and entry.position is not None:
            self.positions[entry.topic] = entry.position

    def mark(self, topic: str, position: Position) -> None:
        """Note that a topic is at a position once the loop has handled what is here now."""
        if self.is_ended:
            return
        last = self._entries[-1] if self._entries else self._taken
        if last is None:
            self.positions[topic] = position
        else:
            last.topic, last.position = topic, position

    def take(self) -> Event | LostError | None:
        """Return the next event; None: there is none now."""
        if not self._entries:
            return None
        first = self._entries[0]
        if first.skipped is not None:
            since, position = first.skipped
            first.skipped = None
            self._taken = Entry(Skipped(first.topic or "", since, position), 0, first.topic)
            self._taken.position = position
            return Skipped(first.topic or "", since, position)
        self._entries.popleft()
        self._bytes -= first.size
        if self._newest.get(first.topic or "") is first:
            del self._newest[first.topic or ""]
        self._taken = first
        return first.event

    def is_roomy(self) -> bool:
        """Report whether the inbox is at most half full."""
        return len(self._entries) <= self.limit // 2 and self._bytes <= MAX_BYTES // 2

    def take_error(self) -> NotifluxError | None:
        """Return the error that ended the subscription, once."""
        error, self._error = self._error, None
        return error
