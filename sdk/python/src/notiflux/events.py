"""What the server sends, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NewType

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
