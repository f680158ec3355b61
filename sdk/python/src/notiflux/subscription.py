"""Subscriptions: iterators over events."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType

from notiflux._core.channel import Terms
from notiflux._core.hub import Done, Hub, Subscriber
from notiflux._core.part import Part, Start
from notiflux._core.plan import Plan
from notiflux._core.position import is_position
from notiflux.errors import NotifluxError
from notiflux.events import Event, Position

_MAX_TOPIC = 255
DEFAULT_BUFFER = 1000


def starts(
    topics: tuple[str, ...], since: str | Mapping[str, str] | None, last: int, buffer: int
) -> list[tuple[str, Start]]:
    """Return where each topic starts. It raises ValueError for what the server would refuse."""
    if not topics:
        raise ValueError("there are no topics; subscribe to at least one")
    for topic in topics:
        if not isinstance(topic, str):
            raise TypeError(f"a topic is a string, not {topic!r}")
        if not _is_topic(topic):
            raise ValueError(f"{topic!r} is not a topic; use a name of 1 to 255 bytes of UTF-8")
    if isinstance(since, str):
        if len(topics) > 1:
            raise ValueError("since is one position for several topics; use a dict by topic")
        since = {topics[0]: since}
    since = since or {}
    for topic, place in since.items():
        if not is_position(place):
            raise ValueError(f"{place!r} is not a position, for the topic {topic!r}")
    if last < 0:
        raise ValueError(f"last is {last}; use a number of messages from 0 to 1,000")
    if buffer < 1:
        raise ValueError(f"buffer is {buffer}; use a number of events from 1")
    return [
        (topic, Start(Position(since[topic])) if topic in since else Start(None, last))
        for topic in dict.fromkeys(topics)
    ]


def pattern_start(pattern: str, since: str | None, buffer: int) -> list[tuple[str, Start]]:
    """Return where a pattern starts. It raises ValueError for what the server would refuse."""
    if not isinstance(pattern, str):
        raise TypeError(f"a pattern is a string, not {pattern!r}")
    if not pattern.endswith("*") or (pattern != "*" and not _is_topic(pattern[:-1])):
        raise ValueError(
            f"{pattern!r} is not a pattern; use the beginning of topics, "
            "of at most 255 bytes of UTF-8, followed by *"
        )
    if since is not None and not is_position(since):
        raise ValueError(f"{since!r} is not a position, for the pattern {pattern!r}")
    if buffer < 1:
        raise ValueError(f"buffer is {buffer}; use a number of events from 1")
    return [(pattern, Start(None if since is None else Position(since)))]


def _is_topic(name: str) -> bool:
    try:
        return 0 < len(name.encode()) <= _MAX_TOPIC
    except UnicodeEncodeError:  # half a character
        return False


class Base:
    """What both kinds of subscriptions have."""

    def __init__(
        self,
        hub: Hub,
        topics: list[tuple[str, Start]],
        terms: Terms,
        buffer: int,
        wake: Callable[[], None],
    ) -> None:
        self._hub = hub
        self._topics = [topic for topic, _ in topics]
        self._subscriber: Subscriber = hub.subscribe(topics, terms, buffer, wake)

    def __repr__(self) -> str:
        return f"<notiflux.{type(self).__name__} {self._topics}>"

    @property
    def positions(self) -> dict[str, Position]:
        """By topic or pattern: up to where the loop has handled everything.

        An event is handled when the loop asks for the next one. To resume after a restart of
        the program, store this and pass it as ``since``.
        """
        with self._hub.lock:
            return dict(self._subscriber.inbox.positions)

    @property
    def connection(self) -> str | None:
        """The server's name for the connection of the first topic, to ``exclude`` it.

        It changes with each connection. None: there is none now.
        """
        with self._hub.lock:
            for part in self._subscriber.parts[:1]:
                link = part.channel.link if part.channel is not None else None
                if link is not None and link.welcome is not None:
                    return link.welcome.connection
            return None


class Subscription(Base):
    """An iterator over the events of topics.

    It raises LostError where messages are missing, and goes on after that::

        while True:
            try:
                for event in subscription:
                    ...
                break
            except LostError as lost:
                reload(lost.topic)

    Any other NotifluxError is raised last. After it, and after close, the iterator is at its
    end. Iterate in one thread at a time. It starts when it is made, and ends when it is closed.
    """

    def __init__(
        self,
        hub: Hub,
        topics: list[tuple[str, Start]],
        terms: Terms,
        buffer: int,
        run: Callable[[Plan[None]], None],
        check: Callable[[], None],
    ) -> None:
        self._changed = threading.Condition(hub.lock)
        self._run = run
        self._check = check
        super().__init__(hub, topics, terms, buffer, self._changed.notify_all)

    def __enter__(self) -> Subscription:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Subscription:
        return self

    def __next__(self) -> Event:
        return self.next()

    def next(self, timeout: float | None = None) -> Event:
        """Return the next event.

        It raises TimeoutError if there is none for so many seconds, and StopIteration at the
        end.
        """
        self._check()
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            step = self._take(deadline)
            if isinstance(step, Part):
                left = math.inf if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError("there was no event in time")
                self._run(self._hub.read_on(self._subscriber, step, left))
            elif isinstance(step, Done):
                raise StopIteration
            elif isinstance(step, NotifluxError):
                raise step
            else:
                return step

    def _take(self, deadline: float | None) -> Event | NotifluxError | Part | Done:
        with self._changed:
            while True:
                step = self._subscriber.take()
                if step is not None:
                    return step
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise TimeoutError("there was no event in time")
                self._changed.wait(left)

    def close(self) -> None:
        """End the subscription, and drop the events that the loop has not got."""
        self._hub.close(self._subscriber)


class AsyncSubscription(Base):
    """An asynchronous iterator over the events of topics.

    It raises LostError where messages are missing, and goes on after that::

        while True:
            try:
                async for event in subscription:
                    ...
                break
            except LostError as lost:
                await reload(lost.topic)

    Any other NotifluxError is raised last. After it, and after close, the iterator is at its
    end. Iterate in one task at a time. When waiting for an event is cancelled, none is lost. It
    starts when it is made, and ends when it is closed.
    """

    def __init__(
        self,
        hub: Hub,
        topics: list[tuple[str, Start]],
        terms: Terms,
        buffer: int,
        run: Callable[[Plan[None]], Awaitable[None]],
    ) -> None:
        self._changed = asyncio.Event()
        self._run = run
        super().__init__(hub, topics, terms, buffer, self._changed.set)

    async def __aenter__(self) -> AsyncSubscription:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __aiter__(self) -> AsyncSubscription:
        return self

    async def __anext__(self) -> Event:
        while True:
            self._changed.clear()
            with self._hub.lock:
                step = self._subscriber.take()
            if step is None:
                await self._changed.wait()
            elif isinstance(step, Part):
                await self._run(self._hub.read_on(self._subscriber, step, math.inf))
            elif isinstance(step, Done):
                raise StopAsyncIteration
            elif isinstance(step, NotifluxError):
                raise step
            else:
                return step

    def close(self) -> None:
        """End the subscription, and drop the events that the loop has not got."""
        self._hub.close(self._subscriber)
