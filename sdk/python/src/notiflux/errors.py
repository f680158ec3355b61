"""The exceptions of the package."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from notiflux.events import Position

LostReason = Literal["expired", "restarted", "server", "overflow"]


class NotifluxError(Exception):
    """A failure; ``code`` says which.

    The codes are those of the protocol (docs/protocol.md, section 5) and these:

    - ``timeout``: the server could not be reached in time.
    - ``closed``: the client or the subscription is closed.
    - ``logged_out``: the token function returned None.
    - ``token_failed``: the token function raised an exception, which is the cause.
    - ``bad_answer``: what answered is not a notiflux server.
    - ``insecure``: one side does not accept the other's certificate or TLS version.
    - ``disconnected``: the server closed the connection, and the same would happen again.
    - ``refused``: an answer without a code, for example of a proxy; see ``status``.
    - ``failed``: the client cannot go on: it has a fault, or the system starts no thread.
    """

    def __init__(
        self,
        code: str,
        message: str = "",
        *,
        topic: str | None = None,
        status: int | None = None,
        retry: bool = False,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        """Why, for programs."""
        self.message = message
        """Why, for people. The words may change."""
        self.topic = topic
        """The topic that the error is about, if it is about one."""
        self.status = status
        """The HTTP status or the WebSocket close code, if there was one."""
        self.retry = retry
        """Whether the same may succeed later."""

    def __str__(self) -> str:
        text = f"{self.code}: {self.message}" if self.message else self.code
        if self.status is not None and self.code in ("refused", "disconnected"):
            text += f" ({self.status})"
        return text if self.topic is None else f"{text} (topic {self.topic!r})"


class PublishError(NotifluxError):
    """Some of the messages that were published together failed.

    ``results`` has an entry for each message, in the same order: its position, or the error.
    The other members are those of the first error.
    """

    def __init__(self, results: Sequence[Position | NotifluxError]) -> None:
        self.results = list(results)
        failed = [result for result in self.results if isinstance(result, NotifluxError)]
        first = failed[0]
        super().__init__(
            first.code, first.message, topic=first.topic, status=first.status, retry=first.retry
        )

    def __reduce__(self) -> tuple[object, ...]:
        return PublishError, (self.results,)

    def __str__(self) -> str:
        failed = sum(isinstance(result, NotifluxError) for result in self.results)
        return (
            f"{failed} of {len(self.results)} messages failed, the first with {super().__str__()}"
        )


class LostError(NotifluxError):
    """Messages of a topic are missing, so what was built from them is out of date.

    Load it again and go on iterating: the subscription continues after ``position``.
    """

    def __init__(
        self, topic: str, since: Position | None, position: Position, reason: LostReason
    ) -> None:
        super().__init__("lost", _LOST[reason], topic=topic, retry=True)
        self.since = since
        """Messages after it are missing."""
        self.position = position
        """All messages after it follow."""
        self.reason: LostReason = reason
        """Why.

        - ``expired``: the server no longer had the messages.
        - ``restarted``: the server, or what keeps its messages, was restarted.
        - ``server``: a server behind it failed while the client was connected.
        - ``overflow``: the loop was too slow for longer than messages are kept.
        """

    def __reduce__(self) -> tuple[object, ...]:
        return LostError, (self.topic, self.since, self.position, self.reason)


_LOST: dict[LostReason, str] = {
    "expired": "the server no longer has all messages since the last connection",
    "restarted": "the server was restarted and has lost its earlier messages",
    "server": "the server has lost messages",
    "overflow": "the loop was too slow, and the server no longer has all messages",
}
