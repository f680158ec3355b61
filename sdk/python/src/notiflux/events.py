"""What the server sends, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NewType

if TYPE_CHECKING:
    from notiflux.errors import NotifluxError

Position = NewType("Position", str)
"""A place in a topic. Store it and pass it as ``since``; its text has no meaning for programs."""


@dataclass(frozen=True)
class Message:
    """A message was published."""

    topic: str
    data: Any
    """The published JSON value. An integer too long for int() is a decimal.Decimal."""
    position: Position
    """Resume from here to get the next message."""
    time: datetime
    """When the server ordered the message, in UTC, to the millisecond."""


@dataclass(frozen=True)
class Member:
    """A user who is present in a topic."""

    sub: str
    """The claim ``sub`` of the member's token."""
    info: dict[str, Any] | None = None
    """The claim ``info`` of the token."""


@dataclass(frozen=True)
class Subscribed:
    """The server confirmed the subscription to a topic, at first or after a reconnect."""

    topic: str
    position: Position
    """All messages after it follow."""
    replay: int
    """How many of these existed already."""
    resumed: bool
    """Whether the client has reconnected and resumes where it was."""


@dataclass(frozen=True)
class Skipped:
    """With ``mode="latest"``: older messages were left out, because there is a newer one."""

    topic: str
    since: Position
    """The messages after it were left out,"""
    position: Position
    """up to and including this one."""


@dataclass(frozen=True)
class Disconnected:
    """The connection has ended or could not be made, and the client connects again.

    It comes once. When the client has connected, each topic brings a Subscribed or a LostError.
    """

    error: NotifluxError
    """Why."""
    retry_in: float
    """Seconds until the next attempt."""


@dataclass(frozen=True)
class Joined:
    """Members have joined a topic, or their ``info`` has changed."""

    topic: str
    members: list[Member]


@dataclass(frozen=True)
class Left:
    """Members have left a topic. Their ``info`` is None."""

    topic: str
    members: list[Member]


@dataclass(frozen=True)
class Present:
    """Who is present in a topic. It replaces all that was known.

    It comes after each Subscribed and LostError. A topic with more than 1,000 members brings it
    in place of Joined and Left, with the numbers only, once a second.
    """

    topic: str
    count: int
    """The number of members."""
    subscribers: int
    """The number of subscriptions, with presence or without."""
    members: list[Member] | None
    """None: there are too many."""


Event = Message | Subscribed | Skipped | Disconnected | Joined | Left | Present
"""What a subscription yields. Later versions may add types: ignore those you do not know."""


@dataclass(frozen=True)
class History:
    """Messages of a topic, the oldest first."""

    messages: list[Message]
    position: Position
    """From where to read on, or to subscribe without a gap."""
    recovered: bool
    """False if messages between ``since`` and the first of these are missing."""
    more: bool
    """Whether there are messages after ``position``."""


@dataclass(frozen=True)
class Presence:
    """Who is present in a topic."""

    count: int
    """The number of members."""
    subscribers: int
    """The number of subscriptions, with presence or without."""
    members: list[Member]
    """Up to 1,000 of the members, sorted by ``sub``."""


@dataclass(frozen=True)
class Publication:
    """A message to publish."""

    topic: str
    data: Any
    """Any value that json.dumps encodes."""
    key: str | None = None
    """Identifies the message: for two minutes the server publishes it once. None: a random key."""
    exclude: str | None = None
    """The name of a connection that does not get the message."""
