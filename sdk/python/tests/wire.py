"""Runs links in virtual time, against a server that does what a test says."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from notiflux import LostError, NotifluxError, TokenRequest
from notiflux._core.calls import Context, Epochs
from notiflux._core.channel import Mode, Terms
from notiflux._core.hub import Done, Hub, Subscriber
from notiflux._core.link import (
    Ask,
    Asked,
    Connect,
    Disconnect,
    Ended,
    Happening,
    Link,
    Send,
    Text,
    Wait,
)
from notiflux._core.part import Part
from notiflux._core.tokens import Tokens
from notiflux.events import Event
from notiflux.subscription import pattern_start, starts

Function = Callable[[TokenRequest], "str | None"]


def welcome(**limits: int) -> dict[str, Any]:
    some = {
        "message": 65536,
        "command": 81920,
        "topics": 1000,
        "topicsPerCommand": 100,
        "commandsPerSecond": 100,
    }
    return {
        "type": "welcome",
        "connection": "c1",
        "version": "1",
        "ping": 25,
        "limits": {**some, **limits},
    }


def message(topic: str, offset: int, data: object = None, epoch: str = "E") -> dict[str, Any]:
    position = f"{epoch}:{offset}"
    return {"type": "message", "topic": topic, "position": position, "time": 0, "data": data}


def subscribed(id: int, *topics: str, position: str = "E:0", **more: Any) -> dict[str, Any]:
    answer = {"position": position, "recovered": True, "replay": 0, **more}
    return {"type": "subscribed", "id": id, "topics": dict.fromkeys(topics, answer)}


def refused(id: int, *topics: str, code: str) -> dict[str, Any]:
    answer = {"code": code, "message": "because"}
    return {"type": "subscribed", "id": id, "topics": {}, "refused": dict.fromkeys(topics, answer)}


class World:
    """A hub with its links, and the clock."""

    def __init__(self, token: str | None = "t0", function: Function | None = None) -> None:
        self.now = 0.0
        self.function = function
        self.asked: list[TokenRequest] = []
        tokens = Tokens(None if function else token, function is not None)
        # The longest wait that full jitter allows shows the limits.
        self.context = Context(tokens, Epochs(), lambda limit: limit, lambda: self.now)
        self.wires: list[Wire] = []
        self.hub = Hub(self.context, self._run)
        self._unstarted: list[Link] = []

    def _run(self, link: Link) -> None:
        self._unstarted.append(link)

    def subscribe(
        self,
        *topics: str,
        since: Any = None,
        last: int = 0,
        mode: Mode = "all",
        presence: bool = False,
        buffer: int = 1000,
    ) -> Subscriber:
        places = starts(topics, since, last, buffer)
        subscriber = self.hub.subscribe(places, Terms(mode, presence), buffer, lambda: None)
        self.settle()
        return subscriber

    def subscribe_pattern(
        self, pattern: str, *, since: str | None = None, buffer: int = 1000
    ) -> Subscriber:
        places = pattern_start(pattern, since, buffer)
        subscriber = self.hub.subscribe(places, Terms(is_pattern=True), buffer, lambda: None)
        self.settle()
        return subscriber

    def close(self, subscriber: Subscriber) -> None:
        self.hub.close(subscriber)
        self.settle()

    def settle(self) -> None:
        """Let the links do what they can do now."""
        while self._unstarted or any(wire.is_woken for wire in self.wires):
            for link in self._unstarted:
                self.wires.append(Wire(self, link))
            self._unstarted.clear()
            for wire in self.wires:
                if wire.is_woken:
                    wire.go([])

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while True:
            times = [w.until for w in self.wires if w.until is not None and w.until <= end]
            if not times:
                break
            self.now = max(self.now, min(times))
            for wire in self.wires:
                if wire.until is not None and wire.until <= self.now:
                    wire.go([])
            self.settle()
        self.now = end

    def take(self, subscriber: Subscriber) -> Event | NotifluxError | Part | Done | None:
        with self.hub.lock:
            step = subscriber.take()
        self.settle()
        return step

    def events(self, subscriber: Subscriber) -> list[Any]:
        """Return what a loop gets now."""
        found: list[Any] = []
        while (step := self.take(subscriber)) is not None:
            if isinstance(step, (Part, Done)):
                break
            found.append(step)
        return found

    def kinds(self, subscriber: Subscriber) -> list[str]:
        """Return what a loop gets now, in short."""
        return [
            event.reason
            if isinstance(event, LostError)
            else event.code
            if isinstance(event, NotifluxError)
            else str(event.data)
            if hasattr(event, "data")
            else type(event).__name__
            for event in self.events(subscriber)
        ]


class Wire:
    """A link that runs, and what it sent."""

    def __init__(self, world: World, link: Link) -> None:
        self.world = world
        self.link = link
        self.is_woken = False
        self.until: float | None = None
        self.is_open = False
        self.has_ended = False
        self.connects: list[float] = []
        self._sent: list[dict[str, Any]] = []
        self._plan = link.run()
        link.wake = self._wake  # type: ignore[method-assign]
        self.go(None)

    def _wake(self) -> None:
        self.is_woken = True

    def go(self, result: list[Happening] | None) -> None:
        """Go on until the link waits."""
        self.is_woken = False
        if self.has_ended:
            return
        happened: list[Happening] = []
        while True:
            try:
                step = self._plan.send(result)
            except StopIteration:
                self.has_ended = True
                self.until = None
                return
            result = None
            if isinstance(step, Wait):
                if not happened and not self.is_woken:
                    self.until = step.until
                    return
                result, happened = happened, []
                self.is_woken = False
            elif isinstance(step, Connect):
                assert not self.is_open
                self.is_open = True
                self.connects.append(self.world.now)
            elif isinstance(step, Send):
                assert self.is_open
                self._sent.append(json.loads(step.text))
            elif isinstance(step, Disconnect):
                self.is_open = False
            elif isinstance(step, Ask):
                happened.append(self._ask(step.request))

    def _ask(self, request: TokenRequest) -> Asked:
        self.world.asked.append(request)
        assert self.world.function is not None
        try:
            token = self.world.function(request)
        except NotifluxError as error:
            return Asked(request, None, error)
        if token is not None:
            self.world.context.tokens.put(request, token)
        return Asked(request, token)

    def say(self, *frames: dict[str, Any]) -> None:
        """Let the server say something."""
        assert self.is_open
        self.go([Text(json.dumps(frame)) for frame in frames])
        self.world.settle()

    def end(self, **how: Any) -> None:
        """End the connection."""
        assert self.is_open
        self.is_open = False
        self.go([Ended(**how)])
        self.world.settle()

    def sent(self) -> list[dict[str, Any]]:
        """Return what was sent since the last call."""
        sent, self._sent = self._sent, []
        return sent

    def begin(self, *topics: str, **more: Any) -> None:
        """Welcome the client, and confirm its subscription to topics."""
        self.say(welcome())
        (command,) = self.sent()
        assert command["topics"] == list(topics)
        self.say(subscribed(command["id"], *topics, **more))
