"""Connections in virtual time: when they are made, what is sent, what ends them."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from wire import World, message, refused, subscribed, welcome

from notiflux import Disconnected, Message, NotifluxError, Position, Subscribed, TokenRequest
from notiflux._core.link import Ended, Text


def test_subscribe() -> None:
    world = World()
    a = world.subscribe("a", "b", since={"a": "E:5"}, last=3)
    (wire,) = world.wires
    assert wire.sent() == []
    wire.say(welcome())
    first, second = wire.sent()
    assert first == {
        "type": "subscribe",
        "id": 1,
        "topics": ["a"],
        "since": {"a": "E:5"},
        "token": "t0",
    }
    assert second == {"type": "subscribe", "id": 2, "topics": ["b"], "last": 3, "token": "t0"}
    wire.say(
        subscribed(1, "a", position="E:5", replay=1),
        message("a", 6, "six"),
        subscribed(2, "b", position="E:7"),
        message("b", 8, "eight"),
    )
    first_event, six, second_event, eight = world.events(a)
    assert first_event == Subscribed("a", Position("E:5"), 1, False)
    assert second_event == Subscribed("b", Position("E:7"), 0, False)
    assert (six.data, eight.data) == ("six", "eight")


def test_events() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    wire.say(message("a", 6, "six"), message("a", 9, {"n": 9}))
    first, six, nine = world.events(a)
    assert (first.position, first.replay, first.resumed) == ("E:5", 0, False)
    assert isinstance(six, Message)
    assert (six.data, nine.data, nine.position) == ("six", {"n": 9}, "E:9")


def test_options_of_the_command() -> None:
    world = World(token=None)
    world.subscribe("a", mode="latest", presence=True)
    (wire,) = world.wires
    wire.say(welcome())
    (command,) = wire.sent()
    del command["id"]
    assert command == {"type": "subscribe", "topics": ["a"], "mode": "latest", "presence": True}


def test_resume() -> None:
    world = World()
    a = world.subscribe("a", last=5)
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    wire.say(message("a", 6, "six"))
    wire.end(reason="broken")
    assert world.kinds(a) == ["Subscribed", "six", "Disconnected"]
    world.advance(0.5)
    wire.say(welcome())
    (command,) = wire.sent()
    assert command["since"] == {"a": "E:6"}
    wire.say(subscribed(command["id"], "a", position="E:6", replay=1), message("a", 7, "seven"))
    again, seven = world.events(a)
    assert again.resumed
    assert seven.data == "seven"


def test_what_a_connection_repeats_is_ignored() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    wire.say(message("a", 1, 1), message("a", 1, 1), message("a", 3, 3), message("a", 2, 2))
    assert world.kinds(a) == ["Subscribed", "1", "3"]
    wire.end()
    world.advance(1)
    wire.say(welcome())
    assert wire.sent()[-1]["since"] == {"a": "E:3"}


def test_not_recovered() -> None:
    world = World()
    a = world.subscribe("a", since="E:5")
    (wire,) = world.wires
    wire.begin("a", position="E:90", recovered=False)
    (lost,) = world.events(a)
    assert (lost.since, lost.position, lost.reason) == ("E:5", "E:90", "expired")
    wire.say(message("a", 91, "next"))
    assert world.kinds(a) == ["next"]
    assert a.inbox.positions == {"a": "E:91"}


def test_another_epoch() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    wire.end()
    world.advance(1)
    wire.begin("a", position="F:0", recovered=False)
    assert world.kinds(a) == ["Subscribed", "Disconnected", "restarted"]


def test_a_gap() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    wire.say({"type": "gap", "topic": "a", "position": "F:7"}, message("a", 8, 8, epoch="F"))
    _, lost, eight = world.events(a)
    assert (lost.since, lost.position, lost.reason) == ("E:5", "F:7", "server")
    assert eight.data == 8


def test_a_new_epoch_without_a_gap_is_one() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    wire.say(message("a", 1, 1, epoch="F"), message("a", 2, 2, epoch="F"))
    assert world.kinds(a) == ["Subscribed", "server", "2"]


def test_unknown_frames_are_ignored() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    wire.say({"type": "dance"}, message("other", 1), {"type": "pong", "id": 9}, message("a", 1, 1))
    wire.say(subscribed(77, "a"), {"type": "error", "code": "x", "message": "y", "retry": False})
    assert world.kinds(a) == ["Subscribed", "1"]


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "message", "topic": "a"},
        {"type": "subscribed", "topics": {"a": {"position": "nonsense"}}},
        {"no": "type"},
    ],
)
def test_a_frame_that_breaks_the_protocol_ends_the_subscription(frame: dict[str, Any]) -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    wire.say(frame)
    assert world.kinds(a) == ["Subscribed", "bad_answer"]
    assert wire.has_ended


def test_a_server_that_does_not_welcome() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(subscribed(1, "a"))
    assert world.kinds(a) == ["bad_answer"]


def test_a_server_that_says_nothing() -> None:
    world = World()
    world.subscribe("a")
    (wire,) = world.wires
    world.advance(19)
    assert wire.connects == [0]
    world.advance(2)
    assert wire.connects == [0, 20.5]


def test_backoff() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    for _ in range(9):
        wire.end()
        assert wire.until is not None
        world.advance(wire.until - world.now)
    waits = [later - earlier for earlier, later in itertools.pairwise(wire.connects)]
    assert waits == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert world.kinds(a) == ["Disconnected"]


def reconnects_after(connected: float, **end: Any) -> float | None:
    """Return how long the third connection waits, after two that lasted for a time."""
    world = World()
    world.subscribe("a")
    (wire,) = world.wires
    bye = end.pop("bye", None)
    for is_second in (False, True):
        wire.say(welcome())
        world.advance(connected)
        ended = world.now
        if is_second and bye:
            wire.say({"type": "bye", **bye})
        wire.end(**end if is_second else {})
        if wire.has_ended:
            return None
        assert wire.until is not None
        world.advance(wire.until - world.now)
    return wire.connects[2] - ended


@pytest.mark.parametrize(
    ("end", "wait"),
    [
        ({}, 1.0),
        ({"close": 1000}, 1.0),
        ({"close": 1001}, 1.0),
        ({"close": 1006}, 1.0),
        ({"close": 1008}, 1.0),
        ({"close": 1011}, 1.0),
        ({"close": 1012, "bye": {"code": "draining", "after": 2500}}, 2.5),
        ({"close": 1012, "bye": {"code": "draining", "after": 600}}, 1.0),
        ({"close": 1013, "bye": {"code": "over_capacity", "after": 5000}}, 5.0),
        ({"close": 1013}, 1.0),
        ({"close": 4009, "bye": {"code": "idle", "after": 0}}, 1.0),
        ({"close": 4108, "bye": {"code": "too_many", "after": 3000}}, 3.0),
        ({"close": 4199}, 1.0),
        ({"close": 4201}, 0.5),
        ({"close": 4202, "bye": {"code": "too_slow", "after": 0}}, 0.5),
        ({"close": 4299}, 0.5),
        ({"close": 4999}, 1.0),
        ({"close": 1012, "bye": {"code": "draining", "after": 10**9}}, 300.0),
        ({"status": 503, "after": 7.0}, 8.0),
        ({"status": 500}, 1.0),
        ({"status": 429}, 1.0),
        ({"close": 1002}, None),
        ({"close": 1003}, None),
        ({"close": 1007}, None),
        ({"close": 1009}, None),
        ({"close": 4000}, None),
        ({"close": 4003}, None),
        ({"close": 4099}, None),
        ({"status": 400}, None),
        ({"status": 403}, None),
        ({"status": 404}, None),
        ({"is_final": True}, None),
    ],
)
def test_close_codes(end: dict[str, Any], wait: float | None) -> None:
    assert reconnects_after(0, **dict(end)) == wait


def test_a_steady_connection_resets_the_backoff() -> None:
    assert reconnects_after(9) == 1.0
    assert reconnects_after(10) == 0.5


@pytest.mark.parametrize(
    ("end", "code", "status"),
    [
        ({"close": 1009, "reason": "too large"}, "disconnected", 1009),
        ({"status": 403, "error": NotifluxError("refused", status=403)}, "refused", 403),
        ({"close": 4003}, "token_revoked", 4003),
    ],
)
def test_a_final_end_is_the_error(end: dict[str, Any], code: str, status: int) -> None:
    world = World()
    a, b = world.subscribe("a"), world.subscribe("b")
    (wire,) = world.wires
    wire.end(**end)
    for subscriber in (a, b):
        (error,) = world.events(subscriber)
        assert (error.code, error.status, error.retry) == (code, status, False)
    assert wire.has_ended


def test_a_new_subscription_after_a_final_end() -> None:
    world = World()
    world.subscribe("a")
    world.wires[0].end(close=1009)
    world.subscribe("a")
    assert len(world.wires) == 2
    assert world.wires[1].is_open


def test_a_connection_that_cannot_be_made_is_announced_once() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.end(reason="no route")
    b = world.subscribe("b")
    assert (world.kinds(a), world.kinds(b)) == (["Disconnected"], [])
    world.advance(30)
    wire.end(reason="no route")
    assert (world.kinds(a), world.kinds(b)) == ([], ["Disconnected"])


def test_disconnected_comes_once() -> None:
    world = World()
    a = world.subscribe("a", "b")
    (wire,) = world.wires
    wire.begin("a", "b")
    for _ in range(3):
        wire.end(close=1012, reason="bye bye")
        world.advance(30)
    _, _, only = world.events(a)
    assert isinstance(only, Disconnected)
    assert (only.error.status, only.error.message, only.retry_in) == (1012, "bye bye", 0.5)


@pytest.mark.parametrize("code", ["topic_denied", "scope_denied", "topic_invalid", "a_new_code"])
def test_a_refusal_ends_the_subscription(code: str) -> None:
    world = World()
    a, b = world.subscribe("a", "x"), world.subscribe("b")
    (wire,) = world.wires
    wire.say(welcome())
    (command,) = wire.sent()
    assert command["topics"] == ["a", "x", "b"]
    answer = {**subscribed(1, "x", "b"), "refused": refused(1, "a", code=code)["refused"]}
    wire.say(answer)
    error = world.events(a)[-1]
    assert (error.code, error.message, error.topic) == (code, "because", "a")
    assert world.kinds(b) == ["Subscribed"]
    (command,) = wire.sent()
    assert command["type"] == "unsubscribe"
    assert command["topics"] == ["x"]


@pytest.mark.parametrize("code", ["unavailable", "over_capacity", "internal", "draining"])
def test_a_passing_refusal_is_repeated(code: str) -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(welcome())
    for wait in (0.5, 1.0, 2.0):
        (command,) = wire.sent()
        wire.say(refused(command["id"], "a", code=code))
        world.advance(wait - 0.01)
        assert wire.sent() == []
        world.advance(0.02)
    (command,) = wire.sent()
    wire.say(subscribed(command["id"], "a"))
    assert world.kinds(a) == ["Subscribed"]


def test_an_error_for_the_whole_command() -> None:
    world = World()
    a, b = world.subscribe("a"), world.subscribe("b")
    (wire,) = world.wires
    wire.say(welcome())
    wire.sent()
    wire.say({"type": "error", "id": 1, "code": "malformed", "message": "", "retry": False})
    first, second = wire.sent()
    assert (first["topics"], second["topics"]) == (["a"], ["b"])
    wire.say(
        {"type": "error", "id": first["id"], "code": "malformed", "message": "", "retry": False},
        subscribed(second["id"], "b"),
    )
    assert world.kinds(a) == ["malformed"]
    assert world.kinds(b) == ["Subscribed"]


def numbered() -> Any:
    counter = itertools.count(1)
    return lambda request: f"t{next(counter)}"


def test_a_token_is_asked_for_before_connecting() -> None:
    world = World(function=numbered())
    world.subscribe("a", "b")
    (wire,) = world.wires
    assert world.asked == [TokenRequest("subscribe", ("a", "b"))]
    wire.say(welcome())
    assert [command["token"] for command in wire.sent()] == ["t1"]


def test_a_refused_token_is_replaced_once() -> None:
    world = World(function=numbered())
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(welcome())
    wire.say(refused(1, "a", code="token_expired"))
    assert world.asked[1:] == [TokenRequest("subscribe", ("a",), "token_expired")]
    first, second = wire.sent()
    assert (first["token"], second["token"]) == ("t1", "t2")
    wire.say(refused(2, "a", code="token_invalid"))
    assert world.kinds(a) == ["token_invalid"]
    assert len(world.asked) == 2


def test_a_token_that_was_accepted_may_be_replaced_again() -> None:
    world = World(function=numbered())
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(welcome())
    for n in range(1, 4):
        (command,) = wire.sent()
        assert command["token"] == f"t{n}"
        wire.say(subscribed(command["id"], "a", position="E:1"))
        # The time of the token's claim until has come.
        wire.say({"type": "unsubscribed", "topics": ["a"], "code": "token_expired"})
    assert wire.sent()[0]["since"] == {"a": "E:1"}
    assert world.kinds(a) == ["Subscribed"] * 3


def test_the_same_token_again_ends_the_subscription() -> None:
    world = World(function=lambda request: "same")
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(welcome())
    wire.say(refused(1, "a", code="token_expired"))
    assert world.kinds(a) == ["token_expired"]
    assert len(wire.sent()) == 1


@pytest.mark.parametrize("code", ["token_expired", "token_missing"])
def test_a_fixed_token_is_not_replaced(code: str) -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.say(welcome())
    wire.say(refused(1, "a", code=code))
    assert world.kinds(a) == [code]


def test_until_ends_a_subscription_with_a_fixed_token() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    wire.say({"type": "unsubscribed", "topics": ["a"], "code": "token_expired"})
    assert world.kinds(a) == ["Subscribed", "token_expired"]


def test_the_end_of_one_topic_ends_the_others_of_its_subscription() -> None:
    world = World(function=lambda request: "same")
    a = world.subscribe("a", "b")
    other = world.subscribe("x")
    (wire,) = world.wires
    wire.say(welcome())
    wire.sent()
    answer = {
        **subscribed(1, "a", "x"),
        "refused": refused(1, "b", code="token_expired")["refused"],
    }
    # The connection ends before the client asks for another token.
    wire.is_open = False
    wire.go([Text(json.dumps(answer)), Ended()])
    world.advance(1)
    wire.say(welcome())
    assert world.kinds(a)[-1] == "token_expired"
    assert [command["topics"] for command in wire.sent()] == [["x"]]
    assert world.kinds(other) == ["Subscribed", "Disconnected"]


def test_several_refusals_in_an_answer() -> None:
    world = World()
    a = world.subscribe("a", "b")
    world.subscribe("x", "y")
    (wire,) = world.wires
    wire.say(welcome())
    wire.sent()
    denied = refused(1, "a", code="topic_denied")["refused"]
    too_many = refused(1, "b", code="too_many")["refused"]
    wire.say({**subscribed(1, "x", "y"), "refused": {**denied, **too_many}})
    assert world.kinds(a) == ["topic_denied"]
    assert len(world.wires) == 1


def test_logged_out() -> None:
    world = World(function=lambda request: None)
    a = world.subscribe("a")
    (wire,) = world.wires
    assert world.kinds(a) == ["logged_out"]
    assert wire.connects == []


def test_a_token_function_that_fails_is_asked_later() -> None:
    fails = iter([True, True, False])

    def token(request: TokenRequest) -> str:
        if next(fails):
            raise NotifluxError("token_failed", retry=True)
        return "t"

    world = World(function=token)
    a = world.subscribe("a")
    (wire,) = world.wires
    assert wire.connects == []
    world.advance(0.4)
    assert len(world.asked) == 1
    world.advance(0.2)
    assert len(world.asked) == 2
    world.advance(1.1)
    assert len(wire.connects) == 1
    wire.begin("a")
    assert world.kinds(a) == ["Subscribed"]


def test_4003_asks_for_a_token_once() -> None:
    world = World(function=numbered())
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:3")
    wire.end(close=4003)
    assert world.asked[1:] == []
    world.advance(1)
    assert world.asked[1:] == [TokenRequest("subscribe", ("a",), "token_revoked")]
    wire.say(welcome())
    (command,) = wire.sent()
    assert (command["token"], command["since"]) == ("t2", {"a": "E:3"})
    wire.end(close=4003)
    assert world.kinds(a) == ["Subscribed", "Disconnected", "token_revoked"]


def test_many_topics() -> None:
    world = World(function=numbered())
    topics = [f"topic {n}" for n in range(300)]
    world.subscribe(*topics)
    (wire,) = world.wires
    assert [len(request.topics) for request in world.asked] == [64, 64, 64, 64, 44]
    wire.say(welcome())
    commands = wire.sent()
    assert [len(command["topics"]) for command in commands] == [64, 64, 64, 64, 44]
    assert [topic for command in commands for topic in command["topics"]] == topics


@pytest.mark.parametrize("limit", [17 << 10, 40_000])
def test_commands_fit_the_limit_of_the_server(limit: int) -> None:
    world = World(token="t" * 4000)
    topics = [f"{n:03}" + "é" * 120 for n in range(200)]
    world.subscribe(*topics, since=dict.fromkeys(topics, "E" * 64 + ":12345678901234567890"))
    (wire,) = world.wires
    wire.say(welcome(command=limit, topicsPerCommand=30))
    commands = wire.sent()
    assert sorted(topic for command in commands for topic in command["topics"]) == topics
    for command in commands:
        assert len(command["topics"]) <= 30
        assert len(json.dumps(command, ensure_ascii=False, separators=(",", ":")).encode()) <= limit


def test_the_pace_of_commands() -> None:
    world = World()
    world.subscribe("first")
    (wire,) = world.wires
    wire.begin("first")
    world.advance(10)
    many = [world.subscribe(f"t{n}", last=n + 1) for n in range(300)]  # each needs a command
    assert len(wire.sent()) <= 100
    for _ in range(3):
        world.advance(1)
        assert len(wire.sent()) <= 100
    assert not [s for s in many if s.parts[0].channel is None]
    world.advance(1)
    assert wire.until is None or not wire.sent()


def test_more_topics_than_a_connection_takes() -> None:
    world = World()
    world.subscribe("first")
    world.wires[0].say(welcome(topics=3))
    for n in range(5):
        world.subscribe(f"t{n}")
    assert len(world.wires) == 2
    world.wires[1].say(welcome(topics=3))
    topics = [t for wire in world.wires for c in wire.sent() for t in c["topics"]]
    assert sorted(topics) == ["first", "t0", "t1", "t2", "t3", "t4"]


def test_presence_counts_twice() -> None:
    world = World()
    world.subscribe("a", presence=True)
    world.wires[0].say(welcome(topics=3))
    world.subscribe("b", presence=True)
    assert len(world.wires) == 2


def test_too_many_topics_move_to_another_connection() -> None:
    world = World()
    a = world.subscribe("a", "b")
    (wire,) = world.wires
    wire.say(welcome(topics=1))
    wire.say({**subscribed(1, "a"), "refused": refused(1, "b", code="too_many")["refused"]})
    assert len(world.wires) == 2
    world.wires[1].begin("b")
    assert world.kinds(a) == ["Subscribed", "Subscribed"]


def test_subscriptions_share_a_channel() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    wire.say(message("a", 1, 1))
    b = world.subscribe("a")
    assert wire.sent() == []
    wire.say(message("a", 2, 2))
    assert world.kinds(a) == ["Subscribed", "1", "2"]
    first, two = world.events(b)
    assert (first.position, two.data) == ("E:1", 2)
    world.close(a)
    assert wire.sent() == []
    wire.say(message("a", 3, 3))
    assert world.kinds(b) == ["3"]
    world.close(b)
    assert [command["type"] for command in wire.sent()] == ["unsubscribe"]


@pytest.mark.parametrize("options", [{"last": 5}, {"mode": "latest"}, {"presence": True}])
def test_other_terms_need_another_connection(options: dict[str, Any]) -> None:
    world = World()
    world.subscribe("a")
    world.wires[0].begin("a")
    world.subscribe("a", **options)
    assert len(world.wires) == 2


def test_a_topic_that_comes_back_is_subscribed_to_anew() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a", position="E:5")
    world.hub.close(a)
    b = world.subscribe("a")
    assert [command["type"] for command in wire.sent()] == ["unsubscribe", "subscribe"]
    wire.say(message("a", 6, "of the old one"))
    wire.say({"type": "unsubscribed", "id": 2, "topics": ["a"]}, subscribed(3, "a", position="E:6"))
    wire.say(message("a", 7, 7))
    assert world.kinds(b) == ["Subscribed", "7"]


def test_an_unused_connection_stays_for_a_while() -> None:
    world = World()
    a = world.subscribe("a")
    (wire,) = world.wires
    wire.begin("a")
    world.close(a)
    world.advance(9)
    assert wire.is_open
    world.subscribe("b")
    assert len(world.wires) == 1
    b = world.subscribe("c")
    world.advance(60)
    assert wire.is_open
    for subscriber in list(world.hub._subscribers.values()):
        world.close(subscriber)
    assert b.inbox.is_ended
    world.advance(11)
    assert wire.has_ended
    assert not world.hub.is_used()


def test_close_all() -> None:
    world = World()
    a, b = world.subscribe("a"), world.subscribe("b", presence=True)
    (wire,) = world.wires
    wire.say(welcome())
    world.hub.close_all()
    world.settle()
    assert wire.has_ended
    assert not wire.is_open
    assert world.kinds(a) == world.kinds(b) == []
    with pytest.raises(NotifluxError) as caught:
        world.subscribe("c")
    assert caught.value.code == "closed"


@pytest.mark.parametrize("moment", ["connecting", "waiting", "asking"])
def test_close_all_at_any_moment(moment: str) -> None:
    def never(request: TokenRequest) -> str:
        raise NotifluxError("token_failed", retry=True)

    world = World(function=never if moment == "asking" else None)
    world.subscribe("a")
    (wire,) = world.wires
    if moment == "waiting":
        wire.end()
    world.hub.close_all()
    world.settle()
    assert wire.has_ended
    assert not wire.is_open


def test_presence() -> None:
    world = World()
    a = world.subscribe("a", presence=True)
    (wire,) = world.wires
    wire.begin("a")
    (command,) = wire.sent()
    assert command == {"type": "presence", "id": 2, "topic": "a", "token": "t0"}
    present = {"type": "presence", "topic": "a", "count": 1, "subscribers": 2}
    wire.say(
        {**present, "id": 2, "members": [{"sub": "ann"}]},
        {"type": "join", "topic": "a", "member": {"sub": "bob", "info": {"n": 1}}},
        {"type": "leave", "topic": "a", "members": [{"sub": "bob"}]},
        present,
    )
    assert world.kinds(a) == ["Subscribed", "Present", "Joined", "Left", "Present"]
    wire.end()
    world.advance(1)
    wire.begin("a")
    assert [command["type"] for command in wire.sent()] == ["presence"]
    wire.say({"type": "gap", "topic": "a", "position": "E:9"})
    assert [command["type"] for command in wire.sent()] == ["presence"]


def test_a_list_that_is_refused_for_now_is_requested_again() -> None:
    world = World()
    world.subscribe("a", presence=True)
    (wire,) = world.wires
    wire.begin("a")
    (command,) = wire.sent()
    wire.say(
        {
            "type": "error",
            "id": command["id"],
            "code": "over_capacity",
            "message": "",
            "retry": True,
        }
    )
    assert wire.sent() == []
    world.advance(1)
    assert [command["type"] for command in wire.sent()] == ["presence"]


def test_changes_that_do_not_fit_are_made_good_by_a_list() -> None:
    world = World()
    a = world.subscribe("a", presence=True, buffer=4)
    (wire,) = world.wires
    wire.begin("a")
    wire.sent()
    for n in range(10):
        wire.say({"type": "join", "topic": "a", "member": {"sub": str(n)}})
    assert wire.sent() == []
    world.take(a)
    world.take(a)
    assert [command["type"] for command in wire.sent()] == ["presence"]
