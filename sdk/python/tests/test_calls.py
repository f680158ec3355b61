"""Calls in virtual time: what is repeated, when, and for how long."""

from __future__ import annotations

import itertools

import pytest
from player import Answer, Player, ok, problem

from notiflux import NotifluxError, TokenRequest
from notiflux._core import calls
from notiflux._core.plan import Broken, Insecure, Plan, Response, Unsent
from notiflux._core.retry import backoff, retry_after
from notiflux.events import History

PAGE = ok({"messages": [], "position": "E:7", "recovered": True, "more": False})


def history(player: Player, timeout: float = 100) -> History:
    plan: Plan[History] = calls.history(player.context, "news", "E:5", 10, timeout)
    return player.run(plan)


def refused(player: Player) -> NotifluxError:
    with pytest.raises(NotifluxError) as caught:
        history(player)
    return caught.value


COUNTER = itertools.count(1)


def numbered(request: TokenRequest) -> str:
    return f"t{next(COUNTER)}"


def test_request() -> None:
    player = Player([PAGE])
    assert history(player).position == "E:7"
    (request,) = player.requests
    assert (request.method, request.path, request.token) == ("GET", "/history", "t0")
    assert request.query == (("topic", "news"), ("limit", "10"), ("since", "E:5"))


@pytest.mark.parametrize(
    "answer",
    [
        Unsent("refused"),
        Broken("reset"),
        problem(503, "draining"),
        problem(503, "over_capacity"),
        problem(500, "internal"),
        problem(503, "a_new_code"),
        Response(502, b"<html>"),
        Response(429, b""),
    ],
)
def test_what_passes_is_repeated(answer: Answer) -> None:
    player = Player([answer, answer, PAGE])
    assert history(player).position == "E:7"
    assert player.slept == [0.5, 1.0]


@pytest.mark.parametrize(
    "answer",
    [
        problem(400, "malformed"),
        problem(403, "topic_denied"),
        problem(404, "not_found"),
        problem(401, "token_expired"),
        problem(418, "a_new_code"),
        Response(302, b""),
    ],
)
def test_what_stays_is_not_repeated(answer: Response) -> None:
    player = Player([answer])
    error = refused(player)
    assert error.status == answer.status
    assert error.topic == "news"
    assert not error.retry
    assert player.slept == []


def test_backoff_doubles_up_to_a_limit() -> None:
    player = Player(itertools.repeat(Unsent("refused")))
    assert refused(player).code == "timeout"
    assert player.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, 7.5]
    assert player.now < 100


def test_full_jitter() -> None:
    waits = [backoff(3) for _ in range(200)]
    assert min(waits) < 1 < 3 < max(waits) <= 4


def test_retry_after_is_a_minimum() -> None:
    player = Player([problem(503, "draining", after=7), PAGE])
    history(player)
    assert player.slept == [7.5]


def test_the_error_is_the_last_refusal() -> None:
    error = refused(Player(itertools.repeat(problem(503, "unavailable"))))
    assert (error.code, error.status, error.retry) == ("unavailable", 503, True)


def test_the_cause_of_a_timeout() -> None:
    error = refused(Player(itertools.repeat(Unsent("no route"))))
    assert isinstance(error.__cause__, Unsent)


def test_an_attempt_ends_with_the_call() -> None:
    player = Player([Unsent("refused"), PAGE])
    history(player, timeout=2)
    assert [request.timeout for request in player.requests] == [2, 1.5]


def test_insecure_is_not_repeated() -> None:
    assert refused(Player([Insecure("certificate has expired")])).code == "insecure"


def test_not_our_server() -> None:
    assert refused(Player([Response(200, b"<html>welcome</html>")])).code == "bad_answer"


@pytest.mark.parametrize("code", ["token_expired", "token_invalid", "token_revoked"])
def test_a_refused_token_is_replaced_once(code: str) -> None:
    player = Player([problem(401, code), PAGE, PAGE], function=numbered)
    history(player)
    history(player)
    assert player.asked == [
        TokenRequest("subscribe", ("news",)),
        TokenRequest("subscribe", ("news",), code),
    ]
    assert player.slept == []
    first, second, third = player.tokens()
    assert first != second == third


def test_the_second_refusal_is_final() -> None:
    player = Player([problem(401, "token_expired")] * 2, function=numbered)
    assert refused(player).code == "token_expired"
    assert len(player.asked) == 2


def test_the_same_token_again_is_final() -> None:
    player = Player([problem(401, "token_expired")], function=lambda request: "same")
    assert refused(player).code == "token_expired"
    assert len(player.requests) == 1


def test_no_token_any_more() -> None:
    assert refused(Player([], function=lambda request: None)).code == "logged_out"


def test_403_does_not_ask_for_a_token() -> None:
    player = Player([problem(403, "topic_denied")], function=numbered)
    assert refused(player).code == "topic_denied"
    assert len(player.asked) == 1


def test_without_a_token() -> None:
    player = Player([problem(401, "token_missing")], token=None)
    assert refused(player).code == "token_missing"
    assert player.tokens() == [None]


def test_retry_after_header() -> None:
    assert retry_after("5") == 5
    assert retry_after(None) == 0
    assert retry_after("soon") == 0
    assert retry_after("-1") == 0
    assert retry_after("Mon, 01 Jan 99999999999999999999 00:00:00 GMT") == 0
    assert retry_after("99999") == 300
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
