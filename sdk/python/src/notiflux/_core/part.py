"""A topic of a subscription: which of the channel's messages go into its inbox.

If the inbox has no room for a message, the part falls behind. It then drops what arrives, and
reads on in the history once the loop has emptied the inbox. While it reads, it holds what
arrives, so that it is live again without a gap when the history ends.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from notiflux._core.frames import Confirmation
from notiflux._core.inbox import MAX_BYTES, Entry, Inbox
from notiflux._core.position import covers, epoch_of
from notiflux.errors import LostError, LostReason
from notiflux.events import (
    Event,
    History,
    Joined,
    Left,
    Message,
    Position,
    Present,
    Skipped,
    Subscribed,
)

if TYPE_CHECKING:
    from notiflux._core.channel import Channel


class State(enum.Enum):
    """What a part does with what arrives."""

    NEW = enum.auto()
    """The server has not confirmed the topic."""
    LIVE = enum.auto()
    """It goes into the inbox."""
    BEHIND = enum.auto()
    """It is dropped; the loop has to read the history."""
    READING = enum.auto()
    """It is held; the loop reads the history."""


@dataclass(frozen=True)
class Start:
    """Where a part begins."""

    since: Position | None = None
    last: int = 0


@dataclass
class _Gap:
    position: Position
    reason: LostReason


_Arrival = tuple[Message | Skipped | _Gap, int]


class Part:
    """A topic of a subscription. Its users hold the lock of the hub."""

    def __init__(self, topic: str, start: Start, inbox: Inbox, hold_limit: int) -> None:
        self.topic = topic
        self.start = start
        self.inbox = inbox
        self.state = State.NEW
        self.tail = start.since
        """The inbox has got everything up to here."""
        self.channel: Channel | None = None
        self.needs_list = False
        """A change of the members had no room in the inbox."""
        self.failures = 0
        """How often reading has failed."""
        self._hold_limit = hold_limit
        self._held: deque[_Arrival] = deque()
        self._held_bytes = 0
        self._is_hold_full = False
        self._hold_from: Position | None = None
        self._is_joining = False
        self._reason: LostReason = "overflow"

    def join(self, position: Position) -> None:
        """Begin on a channel that is confirmed and has got everything up to a position."""
        if self.tail is None or self.tail == position:
            self.confirm(Confirmation(position, True, 0))
        else:
            self.state = State.BEHIND
            self._is_joining = True
            self._reason = "expired"

    def confirm(self, answer: Confirmation) -> None:
        """The server confirmed the topic, at first or after a reconnect."""
        is_new = self.state is State.NEW
        if is_new:
            self.state = State.LIVE
        # A part that has read the history may be further than its channel.
        if answer.recovered or self.tail in (None, answer.position):
            if is_new or self.tail is None:
                self.tail = answer.position
            if self.state is State.LIVE:
                event = Subscribed(self.topic, self.tail, answer.replay, not is_new)
                self._put(event, 0, self.tail)
            return
        self._lost(answer.position, "expired")

    def arrive(self, event: Message | Skipped, size: int) -> None:
        """A message arrived."""
        if self.state is State.READING:
            self._hold((event, size))
        elif self.state is State.LIVE and not self._has(event.position):
            if self._put(event, size, event.position):
                self.tail = event.position
            else:
                self._fall_behind()

    def mark(self, position: Position) -> None:
        """All messages up to a position have arrived: only for patterns."""

    def gap(self, position: Position, reason: LostReason) -> None:
        """Messages up to a position were lost."""
        self._lost(position, reason)

    def change(self, event: Joined | Left | Present, size: int) -> None:
        """The members changed."""
        if self.state is State.NEW:
            return
        if not self._put(event, size, None):
            self.needs_list = True

    def _has(self, position: Position) -> bool:
        return self.tail is not None and covers(self.tail, position)

    def _put(self, event: Event | LostError, size: int, position: Position | None) -> bool:
        return self.inbox.put(Entry(event, size, self.topic, self.tail, position))

    def _fall_behind(self) -> None:
        self.state = State.BEHIND
        self._reason = "overflow"
        self._held.clear()

    def _lost(self, position: Position, reason: LostReason) -> None:
        """Messages are missing. If the part is behind, the history says so too."""
        if self.state is State.READING:
            self._hold((_Gap(position, reason), 0))
        elif self.state is State.LIVE:
            if reason != "server" and self.tail and epoch_of(self.tail) != epoch_of(position):
                reason = "restarted"
            if self._put(LostError(self.topic, self.tail, position, reason), 0, position):
                self.tail = position
            else:
                self._fall_behind()

    def _hold(self, arrival: _Arrival) -> None:
        self._held_bytes += arrival[1]
        if len(self._held) >= self._hold_limit or self._held_bytes > MAX_BYTES:
            self._is_hold_full = True
            self._held.clear()
        if not self._is_hold_full:
            self._held.append(arrival)

    def begin_reading(self) -> Position | None:
        """Hold what arrives from now on. It returns from where to read."""
        self.state = State.READING
        self._held.clear()
        self._held_bytes = 0
        self._is_hold_full = False
        self._hold_from = self.channel.position if self.channel is not None else None
        return self.tail

    def take_history(self, history: History) -> bool:
        """Take what was read. It reports False if the history ends before what is held begins."""
        before = self.tail
        if self._is_joining:
            self._is_joining = False
            assert self.tail is not None
            self._put(Subscribed(self.topic, self.tail, len(history.messages), False), 0, self.tail)
        for message in history.messages:
            if not self._has(message.position):
                entry = Entry(message, 0, self.topic, self.tail, message.position)
                self.inbox.put(entry, is_forced=True)
                self.tail = message.position
        self.tail = history.position
        return self._splice(history.more) or self.tail != before

    def take_loss(self, head: Position) -> bool:
        """The history is not covered: begin at the head."""
        self._is_joining = False
        assert self.tail is not None
        reason = self._reason if epoch_of(head) == epoch_of(self.tail) else "restarted"
        loss = LostError(self.topic, self.tail, head, reason)
        self.inbox.put(Entry(loss, 0, self.topic, self.tail, head), is_forced=True)
        self.tail = head
        return self._splice(False)

    def _splice(self, more: bool) -> bool:
        """Go on with what was held, if it follows what was read."""
        assert self.tail is not None
        held, self._held = self._held, deque()
        is_joined = self._hold_from is None or covers(self.tail, self._hold_from)
        if more or self._is_hold_full or not is_joined:
            self.state = State.BEHIND
            return more or self._is_hold_full
        self.state = State.LIVE
        for what, size in held:
            if self.state is not State.LIVE:
                break
            if isinstance(what, _Gap):
                if not self._has(what.position):
                    self._lost(what.position, what.reason)
            elif epoch_of(what.position) == epoch_of(self.tail):
                self.arrive(what, size)
        return True
