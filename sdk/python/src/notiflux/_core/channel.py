"""A topic on a connection, which subscriptions with the same terms share."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from notiflux._core.frames import Confirmation
from notiflux._core.part import Part, Start
from notiflux._core.position import covers, epoch_of
from notiflux._core.tokens import name_of_pattern
from notiflux.errors import LostReason, NotifluxError
from notiflux.events import Joined, Left, Message, Position, Present, Skipped

if TYPE_CHECKING:
    from notiflux._core.link import Link

Mode = Literal["all", "latest"]


@dataclass(frozen=True)
class Terms:
    """How a topic is subscribed to."""

    mode: Mode = "all"
    presence: bool = False
    is_pattern: bool = False
    """It is a pattern and no topic."""


class State(enum.Enum):
    """What the server knows of a channel."""

    WANTED = enum.auto()
    """A command has to be sent."""
    ASKED = enum.auto()
    """It was sent."""
    LIVE = enum.auto()
    """The server confirmed it."""


class Channel:
    """A topic on a connection. Its users hold the lock of the hub."""

    def __init__(self, topic: str, terms: Terms, start: Start) -> None:
        self.topic = topic
        self.terms = terms
        self.start = start
        self.parts: list[Part] = []
        self.link: Link | None = None
        self.state = State.WANTED
        self.position: Position | None = None
        """Up to where it has been received; None: the server has never confirmed it."""
        self.token: str | None = None
        """The one of the last command."""
        self.refusal: NotifluxError | None = None
        """How the server refused the token before this one."""
        self.refused_token: str | None = None
        self.failures = 0
        self.not_before = 0.0
        self.is_alone = False
        """It needs a command of its own, because it may have spoilt one for others."""
        self.wants_list = False
        self.is_disconnected = False
        """Its subscriptions know that it is not live."""

    @property
    def name(self) -> str:
        """What the channel is called where topics and patterns are mixed."""
        return name_of_pattern(self.topic) if self.terms.is_pattern else self.topic

    @property
    def weight(self) -> int:
        """For how many topics of a connection the channel counts."""
        return 2 if self.terms.presence else 1

    def can_take(self, terms: Terms, start: Start) -> bool:
        """Report whether a new part can share the channel."""
        if terms != self.terms:
            return False
        return start == self.start if self.position is None else start.last == 0

    def add(self, part: Part) -> None:
        """Add a part."""
        part.channel = self
        self.parts.append(part)
        if self.position is not None and (self.state is State.LIVE or part.start.since is not None):
            part.join(self.position)
            self.wants_list = self.wants_list or self.terms.presence

    def remove(self, part: Part) -> None:
        """Remove a part, and with the last one the channel."""
        self.parts.remove(part)
        part.channel = None
        if self.parts or self.link is None:
            return
        if self.link.channels.get(self.topic) is self:
            del self.link.channels[self.topic]
            if self.state is not State.WANTED:
                self.link.gone.append(self.topic)
            self.link.wake()

    def relist(self) -> None:
        """Request the list of members, if there is one."""
        if self.terms.presence and self.link is not None:
            self.wants_list = True
            self.link.wake()

    def since(self) -> Position | None:
        """Return from where to resume."""
        return self.position if self.position is not None else self.start.since

    def confirm(self, answer: Confirmation) -> None:
        """The server confirmed the topic."""
        self.state = State.LIVE
        self.position = answer.position
        self.refusal = self.refused_token = None
        self.failures = 0
        self.is_alone = False
        self.is_disconnected = False
        self.wants_list = self.terms.presence
        for part in self.parts:
            part.confirm(answer)

    def arrive(self, event: Message | Skipped, size: int) -> None:
        """A message arrived."""
        if self.state is not State.LIVE or self.position is None:
            return
        if epoch_of(event.position) != epoch_of(self.position):
            self.gap(event.position)
        elif not covers(self.position, event.position):
            self.position = event.position
            for part in self.parts:
                part.arrive(event, size)

    def mark(self, position: Position) -> None:
        """All messages up to a position have arrived: only for patterns."""

    def gap(self, position: Position, reason: LostReason = "server") -> None:
        """Messages up to a position were lost."""
        if self.state is not State.LIVE:
            return
        self.position = position
        self.wants_list = self.terms.presence
        for part in self.parts:
            part.gap(position, reason)

    def change(self, event: Joined | Left | Present, size: int) -> None:
        """The members changed."""
        if self.state is State.LIVE:
            for part in self.parts:
                part.change(event, size)
