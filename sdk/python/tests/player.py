"""Runs plans in virtual time, with answers from a script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from notiflux._core.calls import Context, Epochs
from notiflux._core.plan import (
    Broken,
    Insecure,
    Plan,
    Request,
    Response,
    Returned,
    Sleep,
    TokenRequest,
    Unsent,
    advance,
)
from notiflux._core.tokens import Tokens
from notiflux.errors import NotifluxError

_T = TypeVar("_T")
Answer = Response | Unsent | Broken | Insecure | Callable[[Request], Response]


@dataclass
class Player:
    """A server, a network and a clock that do what a test says."""

    answers: Iterable[Answer]
    token: str | None = "t0"
    function: Callable[[TokenRequest], str | None] | None = None
    now: float = 0.0
    requests: list[Request] = field(default_factory=list)
    asked: list[TokenRequest] = field(default_factory=list)
    slept: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        has_function = self.function is not None
        tokens = Tokens(None if has_function else self.token, has_function)
        # The longest wait that full jitter allows shows the limits.
        self.context = Context(tokens, Epochs(), lambda limit: limit, lambda: self.now)
        self._next = iter(self.answers)

    def run(self, plan: Plan[_T]) -> _T:
        result: object = None
        failure: Exception | None = None
        while True:
            step = advance(plan, result, failure)
            if isinstance(step, Returned):
                return step.value
            result = failure = None
            if isinstance(step, Sleep):
                self.slept.append(step.seconds)
                self.now += step.seconds
            elif isinstance(step, Request):
                self.requests.append(step)
                answer = next(self._next)
                if isinstance(answer, Exception):
                    failure = answer
                else:
                    result = answer(step) if callable(answer) else answer
            else:
                self.asked.append(step.request)
                assert self.function is not None
                try:
                    token = self.function(step.request)
                    if token is not None:
                        self.context.tokens.put(step.request, token)
                    result = token
                except NotifluxError as error:
                    failure = error

    def bodies(self) -> list[Any]:
        return [json.loads(request.body or b"null") for request in self.requests]

    def tokens(self) -> list[str | None]:
        return [request.token for request in self.requests]


def ok(value: object, status: int = 200) -> Response:
    return Response(status, json.dumps(value).encode())


def problem(status: int, code: str, after: float = 0.0) -> Response:
    value = {"title": "T", "status": status, "code": code, "detail": f"because of {code}"}
    return Response(status, json.dumps(value).encode(), after)


def accept(request: Request, epoch: str = "E", start: int = 1) -> Response:
    """Answer a publish as a server does that accepts everything."""
    body = json.loads(request.body or b"")
    messages = body if isinstance(body, list) else [body]
    results = [
        {"topic": message["topic"], "position": f"{epoch}:{start + at}"}
        for at, message in enumerate(messages)
    ]
    return ok(results if isinstance(body, list) else results[0])
