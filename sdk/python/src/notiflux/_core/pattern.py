"""Patterns: all topics that begin in the same way.

Unlike topics, a pattern has no history to read, and its messages have no position in it. Instead
the server says from time to time that everything up to a position was sent, the mark. Resuming
after the mark repeats what followed it, so a part remembers how far it is in each topic, and
drops what comes again.

Each subscription to a pattern has a channel of its own. Patterns share connections only with
patterns that match other topics, so that a message never comes through another subscription.
"""

from __future__ import annotations

from collections import OrderedDict

from notiflux._core.channel import Channel, State, Terms
from notiflux._core.frames import Confirmation
from notiflux._core.inbox import Inbox
from notiflux._core.part import Part, Start
from notiflux._core.part import State as PartState
from notiflux._core.position import covers
from notiflux.events import Message, Position, Skipped, Subscribed

MAX_PATTERNS = 16
"""How many patterns a server takes on a connection."""

_MAX_SEEN = 4096
"""In how many topics a part remembers where it is. A server repeats at most 1,000 messages."""


def overlap(pattern: str, other: str) -> bool:
    """Report whether two patterns match a same topic."""
    one, two = pattern[:-1], other[:-1]
    return one.startswith(two) or two.startswith(one)


class PatternChannel(Channel):
    """A pattern on a connection. It has one part."""

    def can_take(self, terms: Terms, start: Start) -> bool:
        """Report that no new part can share the channel."""
        return False

    def since(self) -> Position | None:
        """Return from where to resume."""
        return self.parts[0].tail if self.parts else None

    def arrive(self, event: Message | Skipped, size: int) -> None:
        """A message of a topic that the pattern matches arrived."""
        if self.state is State.LIVE:
            for part in self.parts:
                part.arrive(event, size)

    def mark(self, position: Position) -> None:
        """All messages up to a position have arrived."""
        if self.state is State.LIVE:
            for part in self.parts:
                part.mark(position)

    def restart(self) -> None:
        """Subscribe again, from the mark on."""
        if self.state is not State.WANTED and self.link is not None:
            self.link.gone.append(self.topic)
            self.state = State.WANTED
            self.link.wake()


class PatternPart(Part):
    """A pattern of a subscription. If the inbox has no room for a message, the part falls behind.

    It then drops what arrives, and subscribes again from the mark on, once the loop has emptied
    the inbox.
    """

    def __init__(self, pattern: str, start: Start, inbox: Inbox) -> None:
        super().__init__(pattern, start, inbox, 0)
        self._seen: OrderedDict[str, Position] = OrderedDict()
        """By topic: up to where the inbox has got everything."""
        self._is_restarting = False

    def confirm(self, answer: Confirmation) -> None:
        """The server confirmed the pattern, at first or again."""
        is_new = self.state is PartState.NEW
        restarted, self._is_restarting = self._is_restarting, False
        if is_new:
            self.state = PartState.LIVE
        if not answer.recovered and self.tail is not None:
            self._lost(answer.position, "overflow" if restarted else "expired")
            return
        if self.state is not PartState.LIVE:
            return
        self.tail = answer.position
        if not restarted:
            event = Subscribed(self.topic, self.tail, answer.replay, not is_new)
            self._put(event, 0, self.tail)

    def arrive(self, event: Message | Skipped, size: int) -> None:
        """A message arrived."""
        seen = self._seen.get(event.topic)
        if self.state is not PartState.LIVE or (seen and covers(seen, event.position)):
            return
        if not self._put(event, size, None):
            self._fall_behind()
            return
        self._seen[event.topic] = event.position
        self._seen.move_to_end(event.topic)
        if len(self._seen) > _MAX_SEEN:
            self._seen.popitem(last=False)

    def mark(self, position: Position) -> None:
        """All messages up to a position have arrived."""
        if self.state is PartState.LIVE:
            self.tail = position
            self.inbox.mark(self.topic, position)

    def restart(self) -> None:
        """Begin again at the mark, after the loop has emptied the inbox."""
        if self.state is PartState.BEHIND:
            self.state = PartState.LIVE
            self._is_restarting = True
            if isinstance(self.channel, PatternChannel):
                self.channel.restart()
