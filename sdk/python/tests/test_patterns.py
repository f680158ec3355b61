"""Subscriptions to patterns: in virtual time, and with the real server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from live import Face, kinds
from wire import Wire, World, message, refused, subscribed, welcome

from notiflux import LostError, Message, NotifluxError, Signer, Subscribed, TokenRequest


def confirmed(id: int, pattern: str, position: str = "E:0", **more: Any) -> dict[str, Any]:
    answer = {"position": position, "recovered": True, "replay": 0, **more}
    return {**subscribed(id), "patterns": {pattern: answer}}


def mark(pattern: str, position: str) -> dict[str, Any]:
    return {"type": "position", "pattern": pattern, "position": position}


def begin(wire: Wire, pattern: str, **more: Any) -> dict[str, Any]:
    """Welcome the client, confirm its subscription to a pattern, and return its command."""
    wire.say(welcome())
    (command,) = wire.sent()
    wire.say(confirmed(command["id"], pattern, **more))
    return command


def test_messages_and_marks() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*", since="E:4")
    (wire,) = world.wires
    assert begin(wire, "room:*", position="E:4", replay=1) == {
        "type": "subscribe",
        "id": 1,
        "patterns": ["room:*"],
        "since": {"room:*": "E:4"},
        "token": "t0",
    }
    wire.say(message("room:2", 5, "five"), mark("room:*", "E:5"), message("room:1", 6, "six"))
    first, five, six = world.events(rooms)
    assert (first.topic, first.position, first.replay) == ("room:*", "E:4", 1)
    assert (five.topic, five.data, six.topic, six.data) == ("room:2", "five", "room:1", "six")
    assert rooms.inbox.positions == {"room:*": "E:5"}
    wire.say(mark("room:*", "E:6"))
    assert rooms.inbox.positions == {"room:*": "E:6"}


def test_a_mark_counts_once_the_loop_has_handled_what_came_before() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*")
    (wire,) = world.wires
    begin(wire, "room:*")
    wire.say(message("room:1", 1), message("room:2", 2), mark("room:*", "E:2"))
    for want in ({}, {"room:*": "E:0"}, {"room:*": "E:0"}):
        world.take(rooms)
        assert rooms.inbox.positions == want
    wire.say(mark("room:*", "E:3"))  # the loop still handles the last message
    assert rooms.inbox.positions == {"room:*": "E:0"}
    world.take(rooms)
    assert rooms.inbox.positions == {"room:*": "E:3"}


def test_resuming_drops_what_came_before() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*")
    (wire,) = world.wires
    begin(wire, "room:*")
    wire.say(message("room:1", 1, 1), mark("room:*", "E:1"))
    wire.say(message("room:1", 2, 2), message("room:2", 3, 3))
    wire.end()
    world.advance(1)
    command = begin(wire, "room:*", position="E:1", replay=3)
    assert command["since"] == {"room:*": "E:1"}
    wire.say(message("room:1", 2, 2), message("room:2", 3, 3), message("room:2", 4, 4))
    assert world.kinds(rooms) == ["Subscribed", "1", "2", "3", "Disconnected", "Subscribed", "4"]


def test_not_recovered() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*", since="E:5")
    (wire,) = world.wires
    begin(wire, "room:*", position="E:90", recovered=False)
    (lost,) = world.events(rooms)
    assert (lost.topic, lost.since, lost.position) == ("room:*", "E:5", "E:90")
    assert lost.reason == "expired"
    wire.say(message("room:1", 91, 91))
    wire.end()
    world.advance(1)
    begin(wire, "room:*", position="F:0", recovered=False)
    wire.say(message("room:1", 1, 1, epoch="F"))
    assert world.kinds(rooms) == ["91", "Disconnected", "restarted", "1"]


def test_a_gap() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*")
    (wire,) = world.wires
    begin(wire, "room:*")
    wire.say({"type": "gap", "pattern": "room:*", "position": "F:7"})
    _, lost = world.events(rooms)
    assert (lost.topic, lost.position, lost.reason) == ("room:*", "F:7", "server")


def test_a_loop_that_is_behind_begins_again_at_the_mark() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*", buffer=3)
    (wire,) = world.wires
    begin(wire, "room:*")
    wire.say(message("room:1", 1, 1), mark("room:*", "E:1"), message("room:2", 2, 2))
    wire.say(message("room:1", 3, 3), message("room:2", 4, 4), mark("room:*", "E:4"))
    assert world.kinds(rooms) == ["Subscribed", "1", "2"]
    (part,) = rooms.parts
    for _ in world.hub.read_on(rooms, part, 1):
        raise AssertionError("a pattern has no history")
    world.settle()
    unsubscribe, subscribe = wire.sent()
    assert (unsubscribe["type"], unsubscribe["patterns"]) == ("unsubscribe", ["room:*"])
    assert subscribe["since"] == {"room:*": "E:1"}
    wire.say(message("room:1", 5, "too early"))
    wire.say({**confirmed(subscribe["id"], "room:*", position="E:1", replay=4)})
    wire.say(message("room:2", 2, 2), message("room:1", 3, 3), message("room:2", 4, 4))
    assert world.kinds(rooms) == ["3", "4"]


def test_a_loop_that_is_too_slow() -> None:
    world = World()
    rooms = world.subscribe_pattern("room:*", buffer=1)
    (wire,) = world.wires
    begin(wire, "room:*")
    wire.say(message("room:1", 1, 1))
    assert world.kinds(rooms) == ["Subscribed"]
    list(world.hub.read_on(rooms, rooms.parts[0], 1))
    world.settle()
    id = wire.sent()[-1]["id"]
    wire.say(confirmed(id, "room:*", position="E:9", recovered=False))
    assert world.kinds(rooms) == ["overflow"]


def test_patterns_that_overlap_have_connections_of_their_own() -> None:
    world = World()
    literal = world.subscribe("a:1")
    outer = world.subscribe_pattern("a:*")
    inner = world.subscribe_pattern("a:b:*")
    same = world.subscribe_pattern("a:*")
    apart = world.subscribe_pattern("b*")
    assert len(world.wires) == 4
    names = [list(wire.link.channels) for wire in world.wires]
    assert names == [["a:1"], ["a:*", "b*"], ["a:b:*"], ["a:*"]]
    for wire, pattern in zip(world.wires[2:], ("a:b:*", "a:*"), strict=True):
        begin(wire, pattern)
        wire.say(message("a:b:1", 1, 1))
    shared = world.wires[1]
    shared.say(welcome())
    (command,) = shared.sent()
    assert command["patterns"] == ["a:*", "b*"]
    answer = {"position": "E:0", "recovered": True, "replay": 0}
    shared.say({**subscribed(1), "patterns": {"a:*": answer, "b*": answer}})
    shared.say(message("a:b:1", 1, 1), message("b", 2, 2))
    assert [world.kinds(loop) for loop in (outer, inner, same, apart)] == [
        ["Subscribed", "1"],
        ["Subscribed", "1"],
        ["Subscribed", "1"],
        ["Subscribed", "2"],
    ]
    world.close(outer)
    assert shared.sent()[0]["patterns"] == ["a:*"]
    assert world.kinds(literal) == []


def test_a_connection_has_at_most_16_patterns() -> None:
    world = World()
    for n in range(17):
        world.subscribe_pattern(f"p{n:02}:*")
    assert [len(wire.link.channels) for wire in world.wires] == [16, 1]


def test_tokens() -> None:
    world = World(function=lambda request: " ".join(request.patterns or request.topics)[:2])
    world.subscribe("ab*")
    rooms = world.subscribe_pattern("cd*")
    assert world.asked == [
        TokenRequest("subscribe", ("ab*",)),
        TokenRequest("subscribe", (), None, ("cd*",)),
    ]
    wire = world.wires[1]
    wire.say(welcome())
    (command,) = wire.sent()
    assert command["token"] == "cd"
    wire.say(refused(command["id"], "cd*", code="token_expired"))
    assert world.asked[2:] == [TokenRequest("subscribe", (), "token_expired", ("cd*",))]
    assert world.kinds(rooms) == ["token_expired"]  # the same token again


def test_logged_out() -> None:
    world = World(function=lambda request: None)
    (error,) = world.events(world.subscribe_pattern("a*"))
    assert str(error) == "logged_out: there is no token for the pattern (topic 'a*')"


def test_the_server_ends_it() -> None:
    world = World(function=lambda request: None if request.refused else "t")
    rooms = world.subscribe_pattern("a*")
    (wire,) = world.wires
    begin(wire, "a*")
    wire.say({"type": "unsubscribed", "topics": [], "patterns": ["a*"], "code": "token_revoked"})
    assert world.kinds(rooms) == ["Subscribed", "token_revoked"]


def test_a_server_that_is_too_old() -> None:
    world = World()
    rooms = world.subscribe_pattern("a*")
    (wire,) = world.wires
    wire.say(welcome())
    text = "`topics` is missing"
    wire.say({"type": "error", "id": 1, "code": "malformed", "message": text, "retry": False})
    (error,) = world.events(rooms)
    assert error.code == "malformed"
    assert "too old for subscriptions to patterns" in error.message


@pytest.mark.parametrize("pattern", ["", "a", "*a", "x" * 256 + "*", "\ud800*"])
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(ValueError, match="not a pattern"):
        World().subscribe_pattern(pattern)


def test_options() -> None:
    with pytest.raises(ValueError, match="not a position, for the pattern"):
        World().subscribe_pattern("a*", since="5")
    with pytest.raises(ValueError, match="buffer is 0"):
        World().subscribe_pattern("a*", buffer=0)


# With the real server.


def test_with_the_server(connect: Callable[..., Face], topic: str) -> None:
    client = connect()
    rooms = client.subscribe_pattern(f"{topic}:*")
    one = client.subscribe(f"{topic}:1")
    first = rooms.next()
    assert isinstance(first, Subscribed)
    assert first.topic == f"{topic}:*"
    one.next()
    for n in range(6):
        client.publish(f"{topic}:{n % 3}", n)
        client.publish(topic, "not in it")
    events = [rooms.next() for _ in range(6)]
    assert all(isinstance(event, Message) for event in events)
    assert [(e.topic, e.data) for e in events if isinstance(e, Message)] == [
        (f"{topic}:{n % 3}", n) for n in range(6)
    ]
    assert kinds(one, 2) == [1, 4]
    since = first.position
    rooms.close()
    again = client.subscribe_pattern(f"{topic}:*", since=since, buffer=2)
    assert kinds(again, 7) == ["Subscribed", 0, 1, 2, 3, 4, 5]
    other = client.subscribe_pattern(f"{topic}:*", since="another:7")
    with pytest.raises(LostError) as caught:
        other.next()
    assert (caught.value.reason, caught.value.topic) == ("restarted", f"{topic}:*")


def test_denied(server: Any, kind: type[Face], signer: Signer) -> None:
    client = kind(server.url, token=signer.sign("ann", patterns=["room:7:*"]))
    try:
        with pytest.raises(NotifluxError) as caught:
            client.subscribe_pattern("room:*").next()
        assert (caught.value.code, caught.value.topic) == ("topic_denied", "room:*")
    finally:
        client.close()
