"""Full inboxes in virtual time: the loop reads on in the history."""

from __future__ import annotations

import json
import math
import random
from typing import Any

import pytest
from oracle import Log, at_rest, judge
from wire import World, message, subscribed, welcome

from notiflux import LostError, NotifluxError, Position
from notiflux._core.hub import Done, Subscriber
from notiflux._core.part import Part
from notiflux._core.plan import AskToken, Plan, Request, Response, Sleep
from notiflux._core.position import covers, epoch_of, offset_of


class Store:
    """A topic on a server: its last messages, and histories of them."""

    def __init__(self, held: int = 1000) -> None:
        self.epoch = "E"
        self.held = held
        self.head = 0
        self.messages: list[dict[str, Any]] = []
        self.dropped = 0
        """The offset of the last message that is not held any more."""
        self.log = Log()

    def publish(self, data: object = None) -> dict[str, Any]:
        self.head += 1
        data = self.head if data is None else data
        new = message("a", self.head, data, self.epoch)
        self.log.add(Position(new["position"]), data)
        self.messages.append(new)
        self.trim(self.held)
        return new

    def trim(self, held: int) -> None:
        """Drop messages."""
        while len(self.messages) > held:
            self.dropped = offset_of(self.messages.pop(0)["position"])

    def restart(self, epoch: str) -> None:
        self.epoch, self.head, self.dropped = epoch, 0, 0
        self.messages.clear()

    @property
    def position(self) -> str:
        return f"{self.epoch}:{self.head}"

    def covers(self, since: str) -> bool:
        """Report whether nothing after a position is missing."""
        return covers(self.position, since) and offset_of(since) >= self.dropped

    def after(self, since: str) -> list[dict[str, Any]]:
        return [m for m in self.messages if not covers(since, m["position"])]

    def history(self, request: Request) -> Response:
        """Answer a request for a history."""
        query = dict(request.query)
        limit = int(query["limit"])
        since = query.get("since")
        recovered = since is None or self.covers(since)
        found = self.messages if since is None or not recovered else self.after(since)
        page = found[:limit] if since is not None else found[-limit:] if limit else []
        more = since is not None and len(found) > limit
        position = page[-1]["position"] if more else self.position
        value = {"messages": page, "position": position, "recovered": recovered, "more": more}
        return Response(200, json.dumps(value).encode())


class Loop:
    """A loop over a subscription that a test drives step by step."""

    def __init__(self, world: World, subscriber: Subscriber, store: Store) -> None:
        self.world = world
        self.subscriber = subscriber
        self.store = store
        self.events: list[Any] = []
        self.reads = 0
        self._plan: Plan[None] | None = None
        self._step: object = None
        self._answer: Response | None = None

    def step(self) -> bool:
        """Take an event, or do the next step of reading. It reports False if there is nothing."""
        if self._plan is not None:
            self._read_on()
            return True
        step = self.world.take(self.subscriber)
        if step is None or isinstance(step, Done):
            return False
        if isinstance(step, Part):
            self.reads += 1
            self._plan = self.world.hub.read_on(self.subscriber, step, math.inf)
            self._step = self._plan.send(None)
        else:
            self.events.append(step)
        return True

    def cancel(self) -> None:
        """Stop reading, as when the task is cancelled."""
        if self._plan is not None:
            self._plan.close()
            self._plan = self._answer = None

    def answer(self) -> None:
        """Let the server answer, but not the answer arrive."""
        if self._plan is not None and isinstance(self._step, Request) and self._answer is None:
            self._answer = self.store.history(self._step)

    def _read_on(self) -> None:
        assert self._plan is not None
        result = None
        if isinstance(self._step, Request):
            self.answer()
            result, self._answer = self._answer, None
        elif isinstance(self._step, Sleep):
            self.world.advance(self._step.seconds)
        try:
            if isinstance(self._step, AskToken):
                self._step = self._plan.throw(NotifluxError("token_failed", retry=True))
            else:
                self._step = self._plan.send(result)
        except StopIteration:
            self._plan = None
        self.world.settle()

    def run(self) -> list[Any]:
        """Go on until there is nothing. It returns the events in short."""
        begin = len(self.events)
        while self.step():
            pass
        return [
            e.reason if isinstance(e, LostError) else getattr(e, "data", type(e).__name__)
            for e in self.events[begin:]
        ]


def make(held: int = 1000, **options: Any) -> tuple[World, Store, Loop]:
    world, store = World(), Store(held)
    subscriber = world.subscribe("a", **options)
    world.wires[0].begin("a", position=store.position)
    return world, store, Loop(world, subscriber, store)


def test_the_history_follows_a_full_inbox() -> None:
    world, store, loop = make(buffer=5)
    for _ in range(20):
        world.wires[0].say(store.publish())
    assert loop.run() == ["Subscribed", *range(1, 21)]
    assert loop.reads == 4  # of five messages each; the last page is full
    world.wires[0].say(store.publish())
    assert loop.run() == [21]
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_bytes_fill_an_inbox_too() -> None:
    world, store, loop = make()
    for _ in range(5):
        world.wires[0].say(store.publish("x" * 300_000))
    got = 0
    while world.take(loop.subscriber) is not None and got < 4:
        got += 1
    assert got == 4  # subscribed and three messages; the rest has to be read
    world, store, loop = make()
    for _ in range(5):
        world.wires[0].say(store.publish("x" * 2_000_000))
    assert len(loop.run()) == 6
    assert loop.reads == 1


def test_messages_that_arrive_while_reading() -> None:
    world, store, loop = make(buffer=5)
    (wire,) = world.wires
    for _ in range(8):
        wire.say(store.publish())
    while loop.reads == 0:
        loop.step()
    wire.say(store.publish(), store.publish())  # before the history is answered
    assert loop.run()[-2:] == [9, 10]
    assert loop.reads == 2
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_messages_that_the_history_lacks_are_held() -> None:
    world, store, loop = make(buffer=10)
    (wire,) = world.wires
    for _ in range(12):
        wire.say(store.publish())
    while loop.reads == 0:
        loop.step()
    loop.answer()
    wire.say(store.publish(), store.publish())  # before the answer arrives
    assert loop.run()[-3:] == [12, 13, 14]
    assert loop.reads == 1
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_a_history_that_is_older_than_what_arrived_is_read_again() -> None:
    world, store, loop = make(buffer=10)
    (wire,) = world.wires
    for _ in range(15):
        wire.say(store.publish())
    messages, current = store.messages, store.history

    def late(request: Request) -> Response:
        """Answer like another server, which does not have the last two messages yet."""
        store.messages, store.head = messages[:-2], store.head - 2
        try:
            return current(request)
        finally:
            store.messages, store.head = messages, store.head + 2
            store.history = current  # type: ignore[method-assign]

    store.history = late  # type: ignore[method-assign]
    while loop.reads == 0:
        loop.step()
    assert loop.run()[-3:] == [13, 14, 15]
    assert loop.reads == 2
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_a_loop_that_is_further_than_its_connection_loses_nothing() -> None:
    world, store, loop = make(held=1, buffer=2)
    (wire,) = world.wires
    wire.say(store.publish(), store.publish())
    store.publish()  # does not arrive; the loop reads it
    assert loop.run() == ["Subscribed", 1, "overflow"]
    wire.end()
    world.advance(1)
    wire.begin("a", position=store.position, recovered=False)
    assert loop.run() == ["Disconnected", "Subscribed"]
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_a_loss_is_followed_by_a_list_of_the_members() -> None:
    world = World()
    store = Store(held=1)
    loop = Loop(world, world.subscribe("a", presence=True, buffer=2), store)
    (wire,) = world.wires
    wire.begin("a", position=store.position)
    for _ in range(5):
        wire.say(store.publish())
    wire.sent()
    assert loop.run() == ["Subscribed", 1, "overflow"]
    assert [command["type"] for command in wire.sent()] == ["presence"]


def test_what_the_history_has_lost_is_announced() -> None:
    world, store, loop = make(held=10, buffer=5)
    (wire,) = world.wires
    for _ in range(50):
        wire.say(store.publish())
    assert loop.run() == ["Subscribed", 1, 2, 3, 4, "overflow"]
    lost = loop.events[-1]
    assert (lost.since, lost.position) == ("E:4", "E:50")
    wire.say(store.publish())
    assert loop.run() == [51]
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_a_restart_while_behind() -> None:
    world, store, loop = make(buffer=2)
    (wire,) = world.wires
    for _ in range(5):
        wire.say(store.publish())
    wire.end()
    store.restart("F")
    store.publish()
    world.advance(1)
    wire.begin("a", position=store.position, recovered=False)
    wire.say(store.publish())
    assert loop.run() == ["Subscribed", 1, "restarted"]
    wire.say(store.publish())
    assert loop.run() == [3]
    at_rest(store.log, judge(store.log, loop.events), store.position)


def test_a_second_subscription_from_a_position() -> None:
    world, store, _ = make()
    (wire,) = world.wires
    for _ in range(5):
        wire.say(store.publish())
    loop = Loop(world, world.subscribe("a", since="E:2"), store)
    assert wire.sent() == []
    wire.say(store.publish())
    assert loop.run() == ["Subscribed", 3, 4, 5, 6]
    first = loop.events[0]
    assert (first.position, first.replay, first.resumed) == ("E:2", 4, False)
    at_rest(store.log, judge(store.log, loop.events, Position("E:2")), store.position)


def test_a_second_subscription_from_a_lost_position() -> None:
    world, store, _ = make(held=2)
    (wire,) = world.wires
    for _ in range(5):
        wire.say(store.publish())
    loop = Loop(world, world.subscribe("a", since="E:2"), store)
    assert loop.run() == ["expired"]
    at_rest(store.log, judge(store.log, loop.events, Position("E:2")), store.position)


def test_a_history_that_is_refused_ends_the_subscription() -> None:
    world, store, loop = make(buffer=2)
    for _ in range(5):
        world.wires[0].say(store.publish())
    value = {"title": "", "status": 403, "code": "topic_denied", "detail": "no"}
    store.history = lambda request: Response(403, json.dumps(value).encode())  # type: ignore[method-assign]
    assert loop.run()[:2] == ["Subscribed", 1]
    assert isinstance(loop.events[-1], NotifluxError)
    assert (loop.events[-1].code, loop.events[-1].topic) == ("topic_denied", "a")
    assert not loop.step()


def test_a_token_function_that_fails_while_reading_is_asked_later() -> None:
    world = World(function=lambda request: "t1")
    store = Store()
    loop = Loop(world, world.subscribe("a", buffer=2), store)
    world.wires[0].begin("a", position=store.position)
    for _ in range(5):
        world.wires[0].say(store.publish())
    assert loop.step()
    assert loop.step()
    world.context.tokens.drop("subscribe", ["a"], "t1", "token_expired")
    began = world.now
    while loop.reads < 4:
        loop.step()
    assert world.now == began + 0.5 + 1 + 2
    request = world.context.tokens.request("subscribe", ["a"])
    world.context.tokens.put(request, "t2")
    assert loop.run() == [2, 3, 4, 5]


def test_latest_leaves_out_older_messages() -> None:
    world, store, loop = make(mode="latest")
    (wire,) = world.wires
    wire.say(store.publish())
    assert loop.run() == ["Subscribed", 1]
    wire.say(store.publish(), store.publish(), store.publish())
    assert loop.run() == ["Skipped", 4]
    assert (loop.events[-2].since, loop.events[-2].position) == ("E:1", "E:3")
    skipped = {"type": "skipped", "topic": "a", "from": "E:4", "to": "E:8"}
    store.head = 8
    wire.say(skipped, store.publish(), store.publish())
    assert loop.run() == ["Skipped", "Skipped", 10]
    assert loop.subscriber.inbox.positions == {"a": "E:10"}


def test_latest_keeps_other_events_in_order() -> None:
    world, store, loop = make(mode="latest")
    (wire,) = world.wires
    wire.say(store.publish(), store.publish())
    wire.end()
    world.advance(1)
    wire.begin("a", position=store.position)
    wire.say(store.publish(), store.publish())
    got = loop.run()
    assert got == ["Subscribed", "Skipped", 2, "Disconnected", "Subscribed", "Skipped", 4]


def test_latest_holds_little() -> None:
    world, store, loop = make(mode="latest", buffer=3)
    for _ in range(10_000):
        world.wires[0].say(store.publish())
    assert loop.run() == ["Subscribed", "Skipped", 10_000]
    assert loop.reads == 0


def test_handled_is_what_came_before_the_next_call() -> None:
    world, store, loop = make()
    world.wires[0].say(store.publish(), store.publish())
    positions = []
    while loop.step():
        positions.append(loop.subscriber.inbox.positions.get("a"))
    assert positions == [None, "E:0", "E:1"]
    assert loop.subscriber.inbox.positions == {"a": "E:2"}


def test_close_drops_what_is_left() -> None:
    world, store, loop = make()
    world.wires[0].say(store.publish())
    world.close(loop.subscriber)
    assert loop.run() == []


@pytest.mark.parametrize("seed", range(300))
def test_any_order_of_events(seed: int) -> None:
    """A model test: a server, a network and a loop do anything in any order."""
    rng = random.Random(seed)
    held = rng.choice([3, 10, 1000])
    world, store = World(), Store(held)
    since: Position | None = None
    for _ in range(rng.choice([0, 5])):
        store.publish()
        since = since or Position(store.position)
    subscriber = world.subscribe("a", since=since, buffer=rng.choice([1, 2, 5, 20]))
    loop = Loop(world, subscriber, store)
    (wire,) = world.wires
    sent: str | None = None  # up to where the connection has got messages
    epochs = iter("FGHIJKLMNOPQRSTUVWXYZ")
    restarts = rng.choice([0, 2])

    def connect() -> None:
        nonlocal sent
        while not wire.is_open:
            assert wire.until is not None
            world.advance(wire.until - world.now)
        wire.say(welcome())
        (command,) = wire.sent()
        place = command.get("since", {}).get("a")
        recovered = place is None or store.covers(place)
        sent = place if place is not None and recovered else store.position
        wire.say(subscribed(command["id"], "a", position=sent, recovered=recovered))

    def deliver(most: int) -> None:
        nonlocal sent
        if sent is None or epoch_of(sent) != store.epoch:
            return
        for new in store.after(sent)[:most]:
            wire.say(new)
            sent = new["position"]

    def cut() -> None:
        nonlocal sent
        wire.end()
        sent = None

    connect()
    for _ in range(rng.randrange(200)):
        what = rng.choices(
            ["publish", "deliver", "step", "answer", "cut", "restart", "gap", "cancel", "trim"],
            [30, 30, 40, 10, 3, restarts, 2, 1, 1],
        )[0]
        if what == "publish":
            store.publish()
            if sent and epoch_of(sent) == store.epoch and not store.covers(sent):
                deliver(0)
                cut()  # the server ends the connection of a client that lags
        elif what == "deliver" and sent:
            deliver(rng.randrange(1, 5))
        elif what == "step":
            loop.step()
        elif what == "answer":
            loop.answer()
        elif what == "cut" and sent:
            cut()
        elif what == "restart":
            if sent:
                cut()
            store.restart(next(epochs))
        elif what == "gap" and sent and epoch_of(sent) == store.epoch:
            # A server on Redis after a failover.
            store.restart(next(epochs, "Z" + store.epoch))
            store.head = rng.randrange(5)
            store.dropped = store.head
            wire.say({"type": "gap", "topic": "a", "position": store.position})
            sent = store.position
        elif what == "cancel":
            loop.cancel()
        elif what == "trim":
            store.trim(1)
            if sent and not store.covers(sent):
                cut()
        if sent is None and rng.random() < 0.5:
            connect()
    if sent is None:
        connect()
    deliver(10**6)
    loop.run()
    verdict = judge(store.log, loop.events, since)
    at_rest(store.log, verdict, store.position)
    if (
        held == 1000
        and not restarts
        and not any(e for e in loop.events if isinstance(e, LostError))
    ):
        assert verdict.received == len(store.log) - (since is not None)
