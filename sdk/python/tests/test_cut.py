"""Connections break at any byte, again and again.

A loop still gets each message once and in order, or learns that some are missing, and each
message is published once. CUTS is how often each test cuts, SEED is of its random choices.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from live import DEADLINE, EventLoop, Face, Server
from oracle import Log, at_rest, judge
from scissors import Scissors

from notiflux import (
    Client,
    LostError,
    Message,
    NotifluxError,
    Position,
    Publication,
    Signer,
    Subscribed,
)
from notiflux._core import retry
from notiflux.events import Event

CUTS = int(os.environ.get("CUTS") or 100)
SEED = int(os.environ.get("SEED") or random.randrange(10**9))
CLIENTS = 4
TOPICS = ("left", "right")


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the backoff short."""
    monkeypatch.setattr(retry, "_FIRST_BACKOFF", 0.005)
    monkeypatch.setattr(retry, "MAX_BACKOFF", 0.01)


@pytest.fixture
def cut(server: Server) -> Iterator[Callable[..., Scissors]]:
    proxies: list[Scissors] = []

    def cut(url: str, cuts: int, **options: int) -> Scissors:
        rng = random.Random(SEED + len(proxies))
        proxies.append(Scissors(url, rng, cuts, **options))
        return proxies[-1]

    yield cut
    for proxy in proxies:
        proxy.close()


class Listener:
    """A loop in a thread that records what it gets, until it has reached its goal."""

    def __init__(self, loop: EventLoop, since: dict[str, Position]) -> None:
        self._loop = loop
        self._thread = threading.Thread(target=self._run)
        self.since = since
        self.events: list[Event | NotifluxError] = []
        self.positions = dict(since)
        self.goal: dict[str, Position] = {}
        self.failure: BaseException | None = None
        self._thread.start()

    def _run(self) -> None:
        try:
            while not self.goal or self.positions != self.goal:
                self._step()
        except BaseException as error:
            self.failure = error

    def _step(self) -> None:
        event: Event | NotifluxError
        try:
            event = self._loop.next(1)
        except TimeoutError:
            return
        except LostError as lost:
            event = lost
        self.events.append(event)
        if isinstance(event, (Message, Subscribed, LostError)) and event.topic is not None:
            self.positions[event.topic] = event.position

    def join(self) -> None:
        self._thread.join(2 * DEADLINE)
        assert not self._thread.is_alive(), self.events[-5:]
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize("held", [2, 100_000])
def test_subscriptions(
    kind: type[Face],
    start: Callable[..., Server],
    cut: Callable[..., Scissors],
    signer: Signer,
    held: int,
) -> None:
    server = start(f"--history-messages={held}", "--history-bytes=200MiB", "--max-topics=1000")
    token = signer.token_function("cut")
    logs = {topic: Log() for topic in TOPICS}
    rng = random.Random(SEED)
    proxies: list[Scissors] = []
    clients: list[Face] = []
    listeners: list[Listener] = []
    with Client(server.url, token=token) as publisher:

        def publish(data: object) -> Position:
            position = Position("")
            for topic in TOPICS:
                position = publisher.publish(topic, data)
                logs[topic].add(position, data)
            return position

        since = {topic: publish("the first message") for topic in TOPICS}
        for n in range(CLIENTS):
            proxies.append(cut(server.url, CUTS // CLIENTS))
            clients.append(kind(proxies[n].url, token=token))
            for options in ({"since": since}, {}):
                buffer = rng.choice([5, 50, 1000])
                loop = clients[n].subscribe(*TOPICS, buffer=buffer, **options)
                listeners.append(Listener(loop, dict(options.get("since", {}))))
        number = 0
        while any(proxy.left for proxy in proxies) and not any(x.failure for x in listeners):
            number += 1
            # What separates frames on the wire also appears inside a message.
            publish(f"{number}" + '\n{"é"}\r\n' * (number % 12))
        publish("the last message")
        for listener in listeners:
            listener.goal = {topic: log.head for topic, log in logs.items() if log.head}
        for listener in listeners:
            listener.join()
        for client in clients:
            client.close()
    resumed = lost = 0
    for listener in listeners:
        for topic in TOPICS:
            events = [e for e in listener.events if getattr(e, "topic", topic) == topic]
            verdict = judge(logs[topic], events, listener.since.get(topic))
            at_rest(logs[topic], verdict, logs[topic].head or "")
            resumed, lost = resumed + verdict.resumed, lost + verdict.lost
    total = sum(proxy.cut for proxy in proxies)
    print(f"SEED={SEED}: cut {total} times in {number} messages; {resumed} resumed, {lost} lost")
    assert total == CUTS // CLIENTS * CLIENTS
    assert (resumed > 0 and lost == 0) if held > 2 else (lost > 0 or CUTS < 50)


@pytest.mark.parametrize("buffer", [7, 1000])
def test_patterns(
    kind: type[Face],
    server: Server,
    cut: Callable[..., Scissors],
    signer: Signer,
    topic: str,
    buffer: int,
) -> None:
    """All messages of a pattern come once, and those of a topic in order."""
    token = signer.token_function("cut")
    rng = random.Random(SEED)
    sent: list[list[object]] = [[], [], []]
    with Client(server.url, token=token) as publisher:
        proxy = cut(server.url, CUTS, most=1500)
        client = kind(proxy.url, token=token)
        loop = client.subscribe_pattern(f"{topic}:*", buffer=buffer)
        while not isinstance(loop.next(), Subscribed):
            pass  # cut before it began
        got: list[list[object]] = [[], [], []]
        resumed = 0

        def take(event: Event) -> None:
            nonlocal resumed
            if isinstance(event, Message):
                got[int(event.topic[-1])].append(event.data)
            elif isinstance(event, Subscribed):
                resumed += event.resumed

        number = 0
        while proxy.left:
            for _ in range(rng.randrange(1, 10)):
                number += 1
                which = rng.randrange(3)
                publisher.publish(f"{topic}:{which}", number)
                sent[which].append(number)
            with suppress(TimeoutError):
                for _ in range(20):
                    take(loop.next(0.01))
        while got != sent:
            take(loop.next())
        client.close()
    print(f"SEED={SEED}: cut {proxy.cut} times in {number} messages; {resumed} resumed")
    assert resumed > 0


def test_publishing(
    kind: type[Face],
    server: Server,
    cut: Callable[..., Scissors],
    signer: Signer,
    topic: str,
) -> None:
    proxy = cut(server.url, CUTS, most=800)  # an answer takes about half of it
    client = kind(proxy.url, token=signer.token_function("cut"))
    number = 0
    while proxy.left:
        client.publish(topic, number)
        client.publish_all(Publication(topic, number + n) for n in (1, 2))
        number += 3
    client.close()
    got: list[object] = []
    with Client(server.url, token=signer.token_function("cut")) as reader:
        history = reader.history(topic, since=None, limit=0)
        since = Position(history.position.partition(":")[0] + ":0")
        while True:
            history = reader.history(topic, since=since, limit=1000)
            got += [message.data for message in history.messages]
            since = history.position
            if not history.more:
                break
    print(f"SEED={SEED}: cut {proxy.cut} times in {number} messages")
    assert got == list(range(number))
