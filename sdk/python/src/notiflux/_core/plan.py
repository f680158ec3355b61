"""What a plan yields, and what it gets.

A plan is a generator that yields a Request, a Sleep or an AskToken. Whoever runs it sends back
the result, or throws in an exception.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar, cast

Scope = Literal["subscribe", "broadcast"]


@dataclass(frozen=True)
class Request:
    """Make a request over HTTP. The result is a Response, or Unsent or Broken is thrown in."""

    method: Literal["GET", "POST"]
    path: str
    timeout: float
    token: str | None
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True)
class Response:
    """An answer over HTTP."""

    status: int
    body: bytes
    retry_after: float = 0.0


class Unsent(Exception):
    """The request did not reach the server."""


class Broken(Exception):
    """The answer is missing, so the server may have done what was asked."""


class Insecure(Exception):
    """One side does not accept the other's certificate or TLS version."""


@dataclass(frozen=True)
class Sleep:
    """Wait. The result is None."""

    seconds: float


@dataclass(frozen=True)
class TokenRequest:
    """For what a token is needed: what a token function is told."""

    scope: Scope
    """What the token must allow."""
    topics: tuple[str, ...]
    """The topics that the token must name; it may name more."""
    refused: str | None = None
    """The code with which the server refused the last token; None: it did not."""
    patterns: tuple[str, ...] = ()
    """The patterns of topics that the token must allow, instead of topics."""


@dataclass(frozen=True)
class AskToken:
    """Ask the token function. The result is a token or None; what it raises is thrown in."""

    request: TokenRequest


Step = Request | Sleep | AskToken

_T = TypeVar("_T")
Plan = Generator[Step, object, _T]


@dataclass(frozen=True)
class Returned(Generic[_T]):
    """What a plan that has ended returned."""

    value: _T


def advance(plan: Plan[_T], result: object, failure: Exception | None) -> Step | Returned[_T]:
    """Give the result of a step to a plan, or throw its failure in, and return the next step."""
    try:
        return plan.send(result) if failure is None else plan.throw(failure)
    except StopIteration as stop:
        return Returned(stop.value)


def ask(request: Request) -> Plan[Response]:
    """Make a request."""
    return cast(Response, (yield request))


def sleep(seconds: float) -> Plan[None]:
    """Wait."""
    yield Sleep(seconds)


def ask_token(request: TokenRequest) -> Plan[str | None]:
    """Ask the token function."""
    return cast("str | None", (yield AskToken(request)))
