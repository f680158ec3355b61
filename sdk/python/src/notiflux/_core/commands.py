"""Commands of the JSON protocol, within the server's limits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from notiflux._core.channel import Channel
from notiflux._core.tokens import MAX_TOPICS


def encode(command: dict[str, Any]) -> str:
    """Return the text of a command."""
    return json.dumps(command, ensure_ascii=False, separators=(",", ":"))


def subscribe(channels: Sequence[Channel], token: str | None) -> dict[str, Any]:
    """Return the command for channels with the same terms and token, without its id."""
    first = channels[0]
    names = "patterns" if first.terms.is_pattern else "topics"
    command: dict[str, Any] = {"type": "subscribe", names: [c.topic for c in channels]}
    since = {c.topic: place for c in channels if (place := c.since()) is not None}
    if since:
        command["since"] = since
    if first.start.last:
        command["last"] = first.start.last
    if first.terms.mode != "all":
        command["mode"] = first.terms.mode
    if first.terms.presence:
        command["presence"] = True
    if token is not None:
        command["token"] = token
    return command


def divide(
    channels: Iterable[Channel], token: str | None, most_topics: int, most_bytes: int
) -> Iterator[list[Channel]]:
    """Divide channels with the same terms and token into commands."""
    batch: list[Channel] = []
    size = 0
    for channel in channels:
        its_size = len(encode(subscribe([channel], token)).encode())
        is_full = len(batch) == min(most_topics, MAX_TOPICS) or size + its_size > most_bytes
        if batch and (is_full or channel.is_alone or batch[0].is_alone):
            yield batch
            batch, size = [], 0
        batch.append(channel)
        size += its_size
    if batch:
        yield batch


class Pace:
    """Keeps commands below the server's rate, with a tenth to spare.

    After a pause it allows as many commands at once as the server takes in a second.
    """

    def __init__(self, per_second: int) -> None:
        self._interval = 10 / 9 / max(1, per_second)
        self._next = 0.0
        """When the next command is due in the long run."""

    def due(self, now: float) -> float:
        """Return when the next command may be sent."""
        return max(now, self._next - 1)

    def take(self, now: float) -> None:
        """Count a command that is sent now."""
        self._next = max(self._next, now) + self._interval
