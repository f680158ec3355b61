"""Publishing in virtual time: keys, batches, doubt."""

from __future__ import annotations

import itertools
import json
from functools import partial
from typing import Any

import pytest
from player import Answer, Player, accept, ok, problem

from notiflux import NotifluxError, Publication, TokenRequest
from notiflux._core.plan import Broken, Request, Response, Unsent
from notiflux._core.publish import Result, publish, publish_all


def one(player: Player, timeout: float = 100, **more: Any) -> str:
    return player.run(publish(player.context, Publication("a", "hello", **more), timeout))


def refused(player: Player, **more: Any) -> NotifluxError:
    with pytest.raises(NotifluxError) as caught:
        one(player, **more)
    return caught.value


def many(player: Player, *topics: str, timeout: float | None = None) -> list[Result]:
    publications = [Publication(topic, at) for at, topic in enumerate(topics)]
    return player.run(publish_all(player.context, publications, timeout))


def entry(topic: str, code: str) -> dict[str, Any]:
    return {"topic": topic, "error": {"code": code, "message": "because"}}


def test_one_message() -> None:
    player = Player([accept])
    assert one(player) == "E:1"
    (body,) = player.bodies()
    assert body.pop("key")
    assert body == {"topic": "a", "message": "hello"}


def test_key_and_exclude() -> None:
    player = Player([accept])
    one(player, key="k", exclude="c")
    assert player.bodies() == [{"topic": "a", "message": "hello", "key": "k", "exclude": "c"}]


@pytest.mark.parametrize(
    "answer",
    [Broken("reset"), Unsent("refused"), problem(503, "outcome_unknown"), Response(502, b"")],
)
def test_all_attempts_have_the_same_body(answer: Answer) -> None:
    player = Player([answer, answer, accept])
    assert one(player) == "E:1"
    first, second, third = player.bodies()
    assert first == second == third


def test_two_messages_have_different_keys() -> None:
    player = Player([accept, accept])
    one(player)
    one(player)
    first, second = player.bodies()
    assert first["key"] != second["key"]


def test_changes_after_the_call_began_are_not_sent() -> None:
    data = [1]

    def change(request: Request) -> Response:
        data.append(2)
        return problem(503, "draining")

    player = Player([change, accept])
    player.run(publish(player.context, Publication("a", data), 100))
    assert [body["message"] for body in player.bodies()] == [[1], [1]]


def test_a_publish_that_was_never_sent_times_out() -> None:
    assert refused(Player(itertools.repeat(Unsent("refused")))).code == "timeout"


@pytest.mark.parametrize(
    "answer", [Broken("reset"), Response(504, b""), problem(503, "outcome_unknown")]
)
def test_after_100_seconds_of_doubt_the_outcome_is_unknown(answer: Answer) -> None:
    player = Player(itertools.repeat(answer))
    error = refused(player)
    assert (error.code, error.topic) == ("outcome_unknown", "a")
    assert player.now == 99, "the last attempt"
    assert len({body["key"] for body in player.bodies()}) == 1


@pytest.mark.parametrize("later", [problem(403, "topic_denied"), problem(409, "key_reused")])
def test_a_refusal_does_not_hide_doubt(later: Response) -> None:
    error = refused(Player([Broken("reset"), later]))
    assert error.code == "outcome_unknown"
    assert isinstance(error.__cause__, NotifluxError)
    assert error.__cause__.status == later.status


def test_a_refusal_without_doubt() -> None:
    error = refused(Player([Unsent("refused"), problem(403, "topic_denied")]))
    assert (error.code, error.topic) == ("topic_denied", "a")


def test_a_new_epoch_ends_doubt() -> None:
    player = Player([accept])
    one(player)
    plan = publish(player.context, Publication("a", 1), 100)
    # The second call comes into doubt, and meanwhile another call sees the new epoch.
    step = plan.send(None)
    assert isinstance(step, Request)
    step = plan.throw(Broken("reset"))
    player.context.epochs.see("F:1")
    with pytest.raises(NotifluxError) as caught:
        plan.send(None)
    assert caught.value.code == "outcome_unknown"


def test_a_first_epoch_does_not_end_doubt() -> None:
    player = Player([Broken("reset"), accept])
    plan = publish(player.context, Publication("a", 1), 100)
    plan.send(None)
    plan.throw(Broken("reset"))
    player.context.epochs.see("E:1")
    assert isinstance(plan.send(None), Request)


def test_an_answer_that_is_none_is_doubt() -> None:
    assert refused(Player([Response(200, b"<html>")])).code == "outcome_unknown"


def test_a_batch_is_one_request() -> None:
    player = Player([accept])
    assert many(player, "a", "b", "a") == ["E:1", "E:2", "E:3"]
    (body,) = player.bodies()
    assert [message["message"] for message in body] == [0, 1, 2]
    assert len({message["key"] for message in body}) == 3


def test_nothing() -> None:
    assert many(Player([])) == []


def test_a_batch_has_up_to_1000_messages() -> None:
    player = Player([accept, partial(accept, start=1001), partial(accept, start=2001)])
    results = many(player, *["a"] * 2500)
    assert results == [f"E:{n}" for n in range(1, 2501)]
    assert [len(body) for body in player.bodies()] == [1000, 1000, 500]


def test_a_batch_has_up_to_a_mebibyte() -> None:
    player = Player([accept] * 4)
    publications = [Publication("a", "x" * 300_000)] * 10
    player.run(publish_all(player.context, publications, None))
    assert [len(body) for body in player.bodies()] == [3, 3, 3, 1] or all(
        len(request.body or b"") <= 1 << 20 for request in player.requests
    )
    assert all(len(request.body or b"") <= 1 << 20 for request in player.requests)


def test_one_of_a_batch_is_refused() -> None:
    answer = [
        {"topic": "a", "position": "E:1"},
        entry("b", "topic_denied"),
        {"topic": "c", "position": "E:2"},
    ]
    first, second, third = many(Player([ok(answer, 207)]), "a", "b", "c")
    assert (first, third) == ("E:1", "E:2")
    assert isinstance(second, NotifluxError)
    assert (second.code, second.topic) == ("topic_denied", "b")


def test_only_what_may_succeed_is_sent_again() -> None:
    answer = [
        {"topic": "a", "position": "E:1"},
        entry("b", "unavailable"),
        entry("c", "key_reused"),
    ]
    player = Player([ok(answer, 207), partial(accept, start=9)])
    first, second, third = many(player, "a", "b", "c")
    assert (first, second) == ("E:1", "E:9")
    assert isinstance(third, NotifluxError)
    again = player.bodies()[1]
    assert (again["topic"], again["message"], again["key"]) == (
        "b",
        1,
        player.bodies()[0][1]["key"],
    )


def test_doubt_is_about_each_message() -> None:
    answer = [entry("a", "outcome_unknown"), entry("b", "over_capacity")]
    then = [entry("a", "topic_denied"), entry("b", "topic_denied")]
    first, second = many(Player([ok(answer, 207), ok(then, 207)]), "a", "b")
    assert isinstance(first, NotifluxError)
    assert isinstance(second, NotifluxError)
    assert (first.code, second.code) == ("outcome_unknown", "topic_denied")


@pytest.mark.parametrize(
    "answer", [problem(413, "too_large"), problem(400, "malformed"), Response(413, b"")]
)
def test_a_batch_that_is_refused_as_a_whole_is_halved(answer: Response) -> None:
    def without_b(request: Request) -> Response:
        body = json.loads(request.body or b"")
        topics = {m["topic"] for m in body} if isinstance(body, list) else {body["topic"]}
        return answer if "b" in topics else accept(request)

    results = many(Player(itertools.repeat(without_b)), *"aabaa")
    assert [isinstance(result, NotifluxError) for result in results] == [
        False,
        False,
        True,
        False,
        False,
    ]
    error = results[2]
    assert isinstance(error, NotifluxError)
    assert error.status == answer.status


def test_an_answer_of_another_length() -> None:
    for result in many(Player([ok([{"topic": "a", "position": "E:1"}])]), "a", "b"):
        assert isinstance(result, NotifluxError)
        assert result.code == "outcome_unknown"


def test_the_time_of_a_batch_is_limited() -> None:
    player = Player(itertools.repeat(Broken("reset")))
    results = many(player, *["a"] * 1500)
    assert {r.code for r in results if isinstance(r, NotifluxError)} == {"outcome_unknown"}
    assert 120 < player.now <= 200  # two requests
    player = Player(itertools.repeat(Broken("reset")))
    many(player, *["a"] * 1500, timeout=10)
    assert player.now <= 10


def per_topics(request: TokenRequest) -> str:
    return f"{request.scope}-{'-'.join(request.topics)}-{request.refused}"


def test_a_batch_asks_for_one_token() -> None:
    player = Player([accept], function=per_topics)
    many(player, "a", "b", "a")
    assert player.asked == [TokenRequest("broadcast", ("a", "b"))]
    assert player.tokens() == ["broadcast-a-b-None"]


def test_a_request_has_one_token() -> None:
    player = Player([accept] * 4, function=per_topics)
    many(player, "a")
    many(player, "a", "a", "b", "c", "a")
    assert player.tokens()[1:] == ["broadcast-a-None", "broadcast-b-c-None", "broadcast-a-None"]


def test_a_token_function_is_told_up_to_64_topics() -> None:
    player = Player([accept] * 2, function=per_topics)
    many(player, *map(str, range(100)))
    assert [len(request.topics) for request in player.asked] == [64, 36]


def test_the_token_of_a_batch_is_replaced_once() -> None:
    answer = [{"topic": "a", "position": "E:1"}, entry("b", "token_expired")]
    player = Player([ok(answer, 207), partial(accept, start=5)], function=per_topics)
    assert many(player, "a", "b") == ["E:1", "E:5"]
    assert player.asked[1:] == [TokenRequest("broadcast", ("b",), "token_expired")]
    assert player.slept == []


def test_without_a_token_nothing_is_sent() -> None:
    player = Player([], function=lambda request: None)
    (result,) = many(player, "a")
    assert isinstance(result, NotifluxError)
    assert result.code == "logged_out"


def test_a_token_function_that_fails_fails_the_call() -> None:
    def fail(request: TokenRequest) -> str:
        raise NotifluxError("token_failed", "no network", retry=True)

    player = Player([], function=fail)
    error = refused(player)
    assert error.code == "token_failed"
    assert player.slept == []


@pytest.mark.parametrize("data", [float("nan"), b"x", {"a": {1}}])
def test_what_json_cannot_say_is_not_sent(data: object) -> None:
    player = Player([])
    with pytest.raises((TypeError, ValueError)):
        player.run(publish(player.context, Publication("a", data), 100))
