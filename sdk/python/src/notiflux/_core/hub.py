"""The subscriptions of a client, and which connection each of their topics is on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from copy import copy

from notiflux._core import calls
from notiflux._core.channel import Channel, Terms
from notiflux._core.inbox import Entry, Inbox
from notiflux._core.link import Link
from notiflux._core.part import Part, Start, State
from notiflux._core.pattern import PatternChannel, PatternPart
from notiflux._core.plan import Plan, sleep
from notiflux._core.retry import backoff
from notiflux.errors import NotifluxError
from notiflux.events import Disconnected, Event

MAX_PAGE = 1000
"""The most messages of a history."""


class Done:
    """There are no more events."""


class Subscriber:
    """A subscription. Its users hold the lock of the hub."""

    def __init__(self, inbox: Inbox, has_presence: bool) -> None:
        self.inbox = inbox
        self._has_presence = has_presence
        self.parts: list[Part] = []

    def take(self) -> Event | NotifluxError | Part | Done | None:
        """Return what the loop gets next.

        A LostError is to be raised, as is any other error, which is the last one. A Part has
        to read its history. None: the loop has to wait.
        """
        self.inbox.handled()
        event = self.inbox.take()
        if event is not None:
            if self._has_presence and self.inbox.is_roomy():
                self._list_again()
            return event
        if self.inbox.is_ended:
            return self.inbox.take_error() or Done()
        behind = (State.BEHIND, State.READING)
        return next((part for part in self.parts if part.state in behind), None)

    def _list_again(self) -> None:
        for part in self.parts:
            if part.needs_list and part.state is State.LIVE and part.channel is not None:
                part.needs_list = False
                part.channel.relist()


class Hub:
    """Shares connections between subscriptions. It is safe for concurrent use.

    ``run`` begins to run a link.
    """

    def __init__(self, context: calls.Context, run: Callable[[Link], None]) -> None:
        self.context = context
        self.lock = threading.Lock()
        self._run = run
        self._links: list[Link] = []
        self._subscribers: dict[Inbox, Subscriber] = {}
        self._is_closed = False

    def subscribe(
        self,
        topics: Iterable[tuple[str, Start]],
        terms: Terms,
        limit: int,
        wake: Callable[[], None],
    ) -> Subscriber:
        """Subscribe to topics."""
        subscriber = Subscriber(Inbox(limit, terms.mode == "latest", wake), terms.presence)
        with self.lock:
            if self._is_closed:
                raise NotifluxError("closed", "the client is closed")
            self._subscribers[subscriber.inbox] = subscriber
            for topic, start in topics:
                part = (
                    PatternPart(topic, start, subscriber.inbox)
                    if terms.is_pattern
                    else Part(topic, start, subscriber.inbox, limit)
                )
                if start.since is not None:
                    subscriber.inbox.positions[topic] = start.since
                subscriber.parts.append(part)
                self._place(part, terms)
        return subscriber

    def _place(self, part: Part, terms: Terms) -> None:
        """Put a part on a channel that it can share, or on a new one."""
        weight = 2 if terms.presence else 1
        roomy: Link | None = None
        for link in self._links:
            if link.is_for_patterns != terms.is_pattern:
                continue
            channel = link.channels.get(part.topic)
            if channel is not None and channel.can_take(terms, part.start):
                channel.add(part)
                link.wake()
                return
            if channel is None and roomy is None and link.has_room(part.topic, weight):
                roomy = link
        make = PatternChannel if terms.is_pattern else Channel
        channel = make(part.topic, terms, part.start)
        channel.add(part)
        self._put(channel, roomy)

    def _put(self, channel: Channel, link: Link | None) -> None:
        is_new = link is None
        if link is None:
            link = Link(self, channel.terms.is_pattern)
            self._links.append(link)
        link.channels[channel.topic] = channel
        channel.link = link
        if is_new:
            self._run(link)
        else:
            link.wake()

    def close(self, subscriber: Subscriber, error: NotifluxError | None = None) -> None:
        """End a subscription: at once or, with an error, after the events in its inbox."""
        with self.lock:
            self._close(subscriber, error)

    def _close(self, subscriber: Subscriber, error: NotifluxError | None) -> None:
        self._subscribers.pop(subscriber.inbox, None)
        subscriber.inbox.end(error)
        for part in subscriber.parts:
            if part.channel is not None:
                part.channel.remove(part)
        subscriber.parts.clear()

    def close_all(self) -> None:
        """End all subscriptions and links."""
        with self.lock:
            self._is_closed = True
            for subscriber in list(self._subscribers.values()):
                self._close(subscriber, None)
            for link in self._links:
                link.is_stopped = True
                link.wake()

    def is_used(self) -> bool:
        """Report whether a link still runs."""
        with self.lock:
            return bool(self._links)

    # For links. The lock is held.

    def forget(self, link: Link) -> None:
        """Remove a link that has ended."""
        if link in self._links:
            self._links.remove(link)

    def move(self, channel: Channel, link: Link) -> None:
        """Move a channel to another connection, because this one has too many."""
        del link.channels[channel.topic]
        others = (
            other
            for other in self._links
            if other is not link
            and other.is_for_patterns == link.is_for_patterns
            and channel.topic not in other.channels
            and other.has_room(channel.topic, channel.weight)
        )
        self._put(channel, next(others, None))

    def finish(self, channel: Channel, error: NotifluxError) -> None:
        """End the subscriptions to a channel."""
        for part in list(channel.parts):
            subscriber = self._subscribers.get(part.inbox)
            if subscriber is not None:
                its_error = copy(error)
                its_error.__cause__ = error.__cause__
                self._close(subscriber, its_error)

    def disconnected(
        self, channels: Iterable[Channel], error: NotifluxError, seconds: float
    ) -> None:
        """Tell the subscriptions to channels that they are not live, once until they are."""
        told: set[Inbox] = set()
        for channel in channels:
            if not channel.is_disconnected:
                channel.is_disconnected = True
                told.update(part.inbox for part in channel.parts)
        for inbox in told:
            inbox.put(Entry(Disconnected(error, seconds)))

    # For loops. The lock is not held.

    def read_on(self, subscriber: Subscriber, part: Part, timeout: float) -> Plan[None]:
        """Read on in the history of a part that is behind, for up to a time."""
        if isinstance(part, PatternPart):
            with self.lock:
                part.restart()
            return
        with self.lock:
            since = part.begin_reading()
        page = min(MAX_PAGE, part.inbox.limit)
        try:
            history = yield from calls.history(self.context, part.topic, since, page, timeout)
            if not history.recovered:
                empty = yield from calls.history(self.context, part.topic, None, 0, timeout)
        except NotifluxError as error:
            if error.retry:
                yield from self._pause(part, timeout)
            else:
                self.close(subscriber, error)
            return
        with self.lock:
            if part.inbox.is_ended:
                return
            if history.recovered:
                has_moved = part.take_history(history)
            else:
                has_moved = part.take_loss(empty.position)
                if part.channel is not None:
                    part.channel.relist()
        if has_moved:
            part.failures = 0
        else:
            yield from self._pause(part, timeout)

    def _pause(self, part: Part, timeout: float) -> Plan[None]:
        seconds = backoff(part.failures, self.context.jitter)
        part.failures += 1
        yield from sleep(min(seconds, timeout))
