"""Keeps one connection to the server, and the channels on it subscribed.

A link is a generator, too. It yields a Connect, Send, Disconnect or Ask, whose result is None,
or a Wait, whose result is a list of what has happened: Text, Ended and Asked.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from notiflux._core import commands
from notiflux._core.channel import Channel, State
from notiflux._core.frames import (
    Bye,
    ErrorFrame,
    GapFrame,
    PositionFrame,
    PresenceFrame,
    SubscribedFrame,
    UnsubscribedFrame,
    Welcome,
    read,
)
from notiflux._core.json import BadJSON
from notiflux._core.pattern import MAX_PATTERNS, overlap
from notiflux._core.plan import TokenRequest
from notiflux._core.retry import backoff, pause
from notiflux._core.tokens import MAX_TOPICS, logged_out, names
from notiflux.errors import NotifluxError
from notiflux.events import Joined, Left, Message, Skipped

if TYPE_CHECKING:
    from notiflux._core.hub import Hub

OPEN_TIMEOUT = 10.0
"""How long a server may take to open a connection, and then for its welcome."""

STEADY = 10.0
"""A connection that lasted for so long was a success."""

LINGER = 10.0
"""How long a connection without channels stays."""

DEFAULT_TOPICS = 1000


@dataclass(frozen=True)
class Connect:
    """Begin to open a connection."""


@dataclass(frozen=True)
class Send:
    """Send a command. If that fails, the connection has ended, which a Wait says."""

    text: str


@dataclass(frozen=True)
class Disconnect:
    """End the connection, if there is one. Nothing of it comes any more."""


@dataclass(frozen=True)
class Ask:
    """Begin to ask for a token."""

    request: TokenRequest


@dataclass(frozen=True)
class Wait:
    """Wait until something happens, the link is woken, or a time has come."""

    until: float | None


LinkStep = Connect | Send | Disconnect | Ask | Wait


@dataclass(frozen=True)
class Text:
    """A frame arrived."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The connection, or the attempt to open one, has ended."""

    reason: str = ""
    close: int | None = None
    """The close code of the server."""
    status: int | None = None
    """The HTTP status of a refusal."""
    after: float = 0.0
    """How long the server asks to wait."""
    error: NotifluxError | None = None
    """What the server, or a proxy, said."""
    is_final: bool = False
    """The same would happen again."""


@dataclass(frozen=True)
class Asked:
    """There is a token in the cache, or none for these topics."""

    request: TokenRequest
    token: str | None
    error: NotifluxError | None = None


Happening = Text | Ended | Asked

_T = TypeVar("_T")
LinkPlan = Generator[LinkStep, "list[Happening] | None", _T]


def _wait(until: float | None) -> LinkPlan[list[Happening]]:
    return (yield Wait(until)) or []


class Link:
    """A connection, which is made again whenever it ends. It is for topics, or for patterns."""

    def __init__(self, hub: Hub, is_for_patterns: bool = False) -> None:
        self._hub = hub
        self.is_for_patterns = is_for_patterns
        self._context = hub.context
        self._asking: set[str] = set()
        self._ids = 0
        self._pending: dict[int, list[Channel]] = {}
        self._lists: dict[int, Channel] = {}
        self._bye: Bye | None = None
        self._pace = commands.Pace(1)
        self._heard = float("inf")
        """When the connection began."""
        # Guarded by the lock of the hub.
        self.channels: dict[str, Channel] = {}
        self.gone: list[str] = []
        self.welcome: Welcome | None = None
        self.is_stopped = False

    def wake(self) -> None:
        """End a Wait. Whoever runs the link replaces this method."""

    def has_room(self, topic: str, weight: int) -> bool:
        """Report whether the server takes a further topic or pattern on the connection."""
        if self.is_for_patterns:
            are_apart = not any(overlap(topic, other) for other in self.channels)
            return are_apart and len(self.channels) < MAX_PATTERNS
        most = DEFAULT_TOPICS if self.welcome is None else self.welcome.topics
        return not self.channels or sum(c.weight for c in self.channels.values()) + weight <= most

    def run(self) -> LinkPlan[None]:
        """Keep the connection until there are no channels."""
        failures = 0
        while (yield from self._is_needed()):
            yield Connect()
            ended = yield from self._serve()
            yield Disconnect()
            lasted, self._heard = self._context.clock() - self._heard, float("inf")
            if lasted >= STEADY:
                failures = 0
            with self._hub.lock:
                seconds = self._end(ended, failures)
            failures += 1
            until = self._context.clock() + seconds
            while not self.is_stopped and self._context.clock() < until:
                self._take_tokens((yield from _wait(until)))

    def fail(self, cause: Exception) -> None:
        """End the subscriptions, because the link cannot go on."""
        error = NotifluxError("failed", f"the client cannot go on: {cause!r}")
        error.__cause__ = cause
        self.end(error)

    def end(self, error: NotifluxError) -> None:
        """End the subscriptions with an error."""
        with self._hub.lock:
            for channel in list(self.channels.values()):
                self._hub.finish(channel, error)
            self._hub.forget(self)

    def _is_needed(self) -> LinkPlan[bool]:
        """Wait until there is something to send. It reports False if the link has ended."""
        while True:
            with self._hub.lock:
                if self.is_stopped or not self.channels:
                    self._hub.forget(self)
                    return False
                now = self._context.clock()
                requests = self._token_requests(now)
                ready = self._ready(now)
                until = self._next(now)
            for request in requests:
                yield Ask(request)
            if ready:
                return True
            self._take_tokens((yield from _wait(until)))

    def _serve(self) -> LinkPlan[Ended | None]:
        """Serve a connection until it ends; None: it is not needed any more."""
        clock = self._context.clock
        late = clock() + 2 * OPEN_TIMEOUT
        idle: float | None = None
        until: float | None = late
        while True:
            for what in (yield from _wait(until)):
                if isinstance(what, Ended):
                    return what
                if isinstance(what, Asked):
                    self._take_tokens([what])
                    continue
                try:
                    self._receive(what.text)
                except BadJSON as bad:
                    message = f"the server does not speak the protocol: {bad}"
                    error = NotifluxError("bad_answer", message)
                    return Ended(error=error, is_final=True)
            now = clock()
            if self.welcome is None and now >= late:
                return Ended("the server sent no welcome")
            with self._hub.lock:
                texts = [] if self.welcome is None else self._commands(now)
                requests = self._token_requests(now)
                until = late if self.welcome is None else self._next(now)
                idle = None if self.channels else (now if idle is None else idle)
                if self.is_stopped or (idle is not None and now >= idle + LINGER):
                    return None
            for text in texts:
                yield Send(text)
            for request in requests:
                yield Ask(request)
            if idle is not None:
                until = idle + LINGER if until is None else min(until, idle + LINGER)

    # What has to be sent. The lock is held.

    def _ready(self, now: float) -> list[Channel]:
        """Return the channels for which a command can be sent."""
        tokens = self._context.tokens
        ready = []
        for channel in list(self.channels.values()):
            if channel.state is not State.WANTED or channel.not_before > now:
                continue
            token = tokens.peek("subscribe", (channel.name,))
            if token is None and tokens.has_source:
                continue
            if channel.refusal is not None and token == channel.refused_token:
                self._hub.finish(channel, channel.refusal)
                continue
            channel.token = token
            ready.append(channel)
        # The end of one may have ended others.
        return [channel for channel in ready if self.channels.get(channel.topic) is channel]

    def _token_requests(self, now: float) -> list[TokenRequest]:
        """Return what to ask the token function."""
        tokens = self._context.tokens
        if not tokens.has_source:
            return []
        topics = [
            channel.name
            for channel in self.channels.values()
            if channel.state is State.WANTED
            and channel.not_before <= now
            and channel.name not in self._asking
            and tokens.peek("subscribe", (channel.name,)) is None
        ]
        self._asking.update(topics)
        return [
            tokens.request("subscribe", topics[at : at + MAX_TOPICS])
            for at in range(0, len(topics), MAX_TOPICS)
        ]

    def _next(self, now: float) -> float | None:
        """Return when there may be something to do without being woken."""
        times = [c.not_before for c in self.channels.values() if c.not_before > now]
        due = self._pace.due(now)
        if due > now:
            times.append(due)
        return min(times, default=None)

    def _commands(self, now: float) -> list[str]:
        """Return the commands to send now, as far as the server's rate allows."""
        assert self.welcome is not None
        texts: list[str] = []
        limit = self.welcome.topics_per_command
        while self.gone and self._pace.due(now) <= now:
            topics, self.gone = self.gone[:limit], self.gone[limit:]
            kind = "patterns" if self.is_for_patterns else "topics"
            texts.append(self._command({"type": "unsubscribe", kind: topics}, now))
        if self.gone:
            return texts  # A topic that is wanted again comes after them.
        for batch, token in self._batches(now, limit):
            if self._pace.due(now) > now:
                return texts
            texts.append(self._command(commands.subscribe(batch, token), now))
            self._pending[self._ids] = batch
            for channel in batch:
                channel.state = State.ASKED
        for channel in self.channels.values():
            if not channel.wants_list or channel.state is not State.LIVE:
                continue
            if channel.not_before > now or self._pace.due(now) > now:
                continue
            command: dict[str, object] = {"type": "presence", "topic": channel.topic}
            if channel.token is not None:
                command["token"] = channel.token
            texts.append(self._command(command, now))
            self._lists[self._ids] = channel
            channel.wants_list = False
        return texts

    def _batches(self, now: float, limit: int) -> Iterable[tuple[list[Channel], str | None]]:
        assert self.welcome is not None
        groups: dict[object, list[Channel]] = {}
        for channel in self._ready(now):
            last = 0 if channel.since() is not None else channel.start.last
            groups.setdefault((channel.terms, last, channel.token), []).append(channel)
        for group in groups.values():
            token = group[0].token
            for batch in commands.divide(group, token, limit, self.welcome.command):
                yield batch, token

    def _command(self, command: dict[str, object], now: float) -> str:
        self._pace.take(now)
        self._ids += 1
        return commands.encode({**command, "id": self._ids})

    # What has happened.

    def _take_tokens(self, happenings: Iterable[Happening]) -> None:
        """Handle the answers of the token function."""
        for what in happenings:
            if not isinstance(what, Asked):
                continue
            with self._hub.lock:
                self._asking.difference_update(names(what.request))
                for topic in what.request.patterns if self.is_for_patterns else what.request.topics:
                    channel = self.channels.get(topic)
                    if channel is None or channel.state is not State.WANTED:
                        continue
                    if what.error is not None:
                        self._later(channel)
                    elif what.token is None:
                        self._hub.finish(channel, channel.refusal or logged_out(channel.name))

    def _later(self, channel: Channel) -> None:
        channel.not_before = self._context.clock() + backoff(channel.failures, self._context.jitter)
        channel.failures += 1

    def _receive(self, text: str) -> None:
        """Handle a frame."""
        frame = read(text)
        with self._hub.lock:
            if isinstance(frame, Bye):
                self._bye = frame
            elif self.welcome is None:
                if not isinstance(frame, Welcome):
                    raise BadJSON("the first frame is not a welcome")
                self.welcome = frame
                self._heard = self._context.clock()
                self._pace = commands.Pace(frame.commands_per_second)
            elif isinstance(frame, SubscribedFrame):
                self._answered(frame)
            elif isinstance(frame, ErrorFrame):
                self._failed(frame)
            elif isinstance(frame, UnsubscribedFrame):
                self._unsubscribed(frame)
            elif isinstance(frame, PresenceFrame):
                channel = self.channels.get(frame.event.topic)
                self._lists.pop(frame.id or 0, None)
                if channel is not None:
                    channel.change(frame.event, len(text))
            elif isinstance(frame, PositionFrame):
                channel = self.channels.get(frame.pattern)
                if channel is not None:
                    channel.mark(frame.position)
            elif isinstance(frame, (Message, Skipped, Joined, Left, GapFrame)):
                channel = self.channels.get(frame.topic)
                if self.is_for_patterns and not isinstance(frame, GapFrame):
                    channel = self._channel_of(frame.topic)
                if channel is None:
                    return
                if isinstance(frame, (Joined, Left)):
                    channel.change(frame, len(text))
                elif isinstance(frame, GapFrame):
                    self._context.epochs.see(frame.position)
                    channel.gap(frame.position)
                else:
                    channel.arrive(frame, len(text))

    def _channel_of(self, topic: str) -> Channel | None:
        """Return the channel of the pattern that matches a topic."""
        matching = (c for c in self.channels.values() if topic.startswith(c.topic[:-1]))
        return next(matching, None)

    def _asked(self, id: int | None) -> list[Channel]:
        """Return the channels that still wait for the answer to a command."""
        batch = self._pending.pop(id or 0, [])
        return [c for c in batch if self.channels.get(c.topic) is c and c.state is State.ASKED]

    def _answered(self, frame: SubscribedFrame) -> None:
        confirmed = frame.patterns if self.is_for_patterns else frame.topics
        for channel in self._asked(frame.id):
            answer = confirmed.get(channel.topic)
            if answer is not None:
                self._context.epochs.see(answer.position)
                channel.confirm(answer)
            else:
                unavailable = NotifluxError("unavailable", retry=True)
                self._refuse(channel, frame.refused.get(channel.topic, unavailable))

    def _failed(self, frame: ErrorFrame) -> None:
        listed = self._lists.pop(frame.id or 0, None)
        if listed is not None and frame.error.retry:
            listed.wants_list = True
            self._later(listed)
        batch = self._asked(frame.id)
        for channel in batch:
            if len(batch) > 1 and not frame.error.retry:
                channel.state = State.WANTED
                channel.is_alone = True
            else:
                self._refuse(channel, frame.error)

    def _unsubscribed(self, frame: UnsubscribedFrame) -> None:
        """The server ended subscriptions, unless this is the answer to a command."""
        if frame.code is None:
            return
        for topic in frame.patterns if self.is_for_patterns else frame.topics:
            channel = self.channels.get(topic)
            if channel is not None and channel.state is State.LIVE:
                message = "the server ended the subscription"
                self._refuse(channel, NotifluxError(frame.code, message, topic=topic))

    def _refuse(self, channel: Channel, error: NotifluxError) -> None:
        """Subscribe again, with another token or later, or end the channel."""
        if self.channels.get(channel.topic) is not channel:
            return  # the end of another channel has ended it
        channel.state = State.WANTED
        if error.code.startswith("token_") and channel.refusal is None:
            channel.refusal, channel.refused_token = error, channel.token
            topics = (channel.name,)
            if self._context.tokens.drop("subscribe", topics, channel.token, error.code):
                return
        elif error.code == "too_many" and len(self.channels) > 1:
            self._hub.move(channel, self)
            return
        elif error.retry:
            self._later(channel)
            return
        elif error.code == "malformed" and channel.terms.is_pattern:
            message = "the server is too old for subscriptions to patterns; update it"
            error = NotifluxError(error.code, f"{message} ({error.message})")
        error.topic = channel.topic
        self._hub.finish(channel, error)

    def _end(self, ended: Ended | None, failures: int) -> float:
        """Handle the end of the connection. It returns how long to wait."""
        bye, self._bye = self._bye, None
        self.welcome = None
        self.gone.clear()
        self._pending.clear()
        self._lists.clear()
        channels = list(self.channels.values())
        for channel in channels:
            channel.state = State.WANTED
        if ended is None:
            return 0
        error = _error_of(ended, bye)
        seconds = None
        if not ended.is_final:
            seconds = pause(
                failures,
                self._context.jitter,
                close=ended.close,
                status=ended.status,
                bye=bye.code if bye is not None else None,
                after=bye.after if bye is not None else ended.after,
            )
        if seconds is None:
            error.retry = False
            for channel in channels:
                self._hub.finish(channel, error)
            return 0
        if ended.close == 4003:
            for channel in channels:
                self._refuse(channel, NotifluxError("token_revoked", ended.reason, status=4003))
        self._hub.disconnected(self.channels.values(), error, seconds)
        return seconds if self.channels else 0


def _error_of(ended: Ended, bye: Bye | None) -> NotifluxError:
    if ended.error is not None:
        return ended.error
    code = bye.code if bye is not None else "disconnected"
    return NotifluxError(code, ended.reason, status=ended.close, retry=True)
