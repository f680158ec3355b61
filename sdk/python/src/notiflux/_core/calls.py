"""Requests about a topic that are repeated until they succeed, fail for good or take too long."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from notiflux._core import answers
from notiflux._core.json import BadJSON, decode_object
from notiflux._core.plan import Broken, Insecure, Plan, Request, Response, Scope, Unsent, ask, sleep
from notiflux._core.position import epoch_of
from notiflux._core.retry import Jitter, backoff, full_jitter
from notiflux._core.tokens import Tokens
from notiflux.errors import NotifluxError
from notiflux.events import History, Presence

TIMEOUT = 100.0
"""How long a call is tried. The server knows the key of a message for 20 s longer."""

_ANSWER_TIMEOUT = 15.0
"""Longer than a working server takes to answer."""

_SLOWEST = 32 << 10
"""The rate, in bytes per second, of the slowest network that can send large messages."""

_T = TypeVar("_T")


class Epochs:
    """The epochs that a client has seen. A new one may mean that the server forgot its keys."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def see(self, position: str) -> None:
        """Note the epoch of a position."""
        self._seen.add(epoch_of(position))

    def count(self) -> int:
        """Return how many epochs were seen."""
        return len(self._seen)


@dataclass(frozen=True)
class Context:
    """What the plans of a client share."""

    tokens: Tokens
    epochs: Epochs
    jitter: Jitter = full_jitter
    clock: Callable[[], float] = time.monotonic


_LAST_ATTEMPT = 1.0  # seconds before the deadline


@dataclass
class Attempts:
    """The attempts of one call."""

    context: Context
    scope: Scope
    topics: Sequence[str]
    deadline: float
    failures: int = 0
    is_renewed: bool = False
    token: str | None = None
    refused: str | None = None

    def once(self, request: Request) -> Plan[Response]:
        """Make one attempt. It raises NotifluxError, Unsent, Broken or what a token function does.

        An answer without success is a Refused.
        """
        context = self.context
        token = yield from context.tokens.get(self.scope, self.topics)
        if self.is_renewed and token == self.refused:
            raise SameToken
        self.token = token
        limit = _ANSWER_TIMEOUT + len(request.body or b"") / _SLOWEST
        left = max(0.001, self.deadline - context.clock())
        response = yield from ask(replace(request, token=token, timeout=min(limit, left)))
        if 200 <= response.status < 300:
            return response
        raise Refused(
            answers.problem(response.status, response.body),
            response.retry_after,
        )

    def renew(self, error: NotifluxError) -> bool:
        """Report whether another token may help against a refusal, and was not tried yet."""
        if not is_token_error(error) or self.is_renewed:
            return False
        self.refused = self.token
        self.is_renewed = self.context.tokens.drop(self.scope, self.topics, self.token, error.code)
        return self.is_renewed

    def wait(self, after: float) -> Plan[bool]:
        """Wait until the next attempt. It reports False if there is no time for one."""
        left = self.deadline - self.context.clock() - _LAST_ATTEMPT
        if left <= after:
            return False
        seconds = min(after + backoff(self.failures, self.context.jitter), left)
        self.failures += 1
        yield from sleep(seconds)
        return True


class Refused(Exception):
    """An answer without success."""

    def __init__(self, error: NotifluxError, after: float) -> None:
        super().__init__(error)
        self.error = error
        self.after = after


class SameToken(Exception):
    """The token function returned the token that the server has refused."""


def is_token_error(error: NotifluxError) -> bool:
    """Report whether another token may help."""
    return error.status == 401 or error.code.startswith("token_")


def timed_out(cause: BaseException | None) -> NotifluxError:
    """Return the error of a call that got no answer in time."""
    error = NotifluxError("timeout", "the server could not be reached in time", retry=True)
    error.__cause__ = cause
    return error


def insecure(cause: BaseException) -> NotifluxError:
    """Return the error for a connection that cannot be made secure."""
    error = NotifluxError("insecure", str(cause))
    error.__cause__ = cause
    return error


def bad_answer(cause: BadJSON) -> NotifluxError:
    """Return the error for an answer that no server gives."""
    return NotifluxError("bad_answer", f"the answer is not one of a notiflux server: {cause}")


def read(
    context: Context,
    topic: str,
    request: Request,
    parse: Callable[[Response], _T],
    timeout: float,
) -> Plan[_T]:
    """Read about a topic."""
    deadline = context.clock() + timeout
    attempts = Attempts(context, "subscribe", (topic,), deadline)
    refusal: NotifluxError | None = None
    while True:
        after = 0.0
        failure: BaseException
        try:
            return parse((yield from attempts.once(request)))
        except BadJSON as error:
            raise bad_answer(error) from None
        except Insecure as error:
            raise insecure(error) from error
        except SameToken:
            assert refusal is not None
            raise refusal from None
        except Refused as error:
            failure = refusal = error.error
            refusal.topic = topic
            after = error.after
            if attempts.renew(refusal):
                continue
            if not refusal.retry:
                raise refusal from None
        except (Unsent, Broken) as error:
            failure = error
        if not (yield from attempts.wait(after)):
            raise failure if isinstance(failure, NotifluxError) else timed_out(failure)


def history(
    context: Context, topic: str, since: str | None, limit: int, timeout: float
) -> Plan[History]:
    """Read messages of a topic."""
    query = [("topic", topic), ("limit", str(limit))]
    if since is not None:
        query.append(("since", since))

    def parse(response: Response) -> History:
        result = answers.history(decode_object(response.body))
        context.epochs.see(result.position)
        return result

    request = Request("GET", "/history", 0, None, tuple(query))
    return (yield from read(context, topic, request, parse, timeout))


def presence(context: Context, topic: str, timeout: float) -> Plan[Presence]:
    """Read the members of a topic."""
    request = Request("GET", "/presence", 0, None, (("topic", topic),))

    def parse(response: Response) -> Presence:
        return answers.presence(decode_object(response.body))

    return (yield from read(context, topic, request, parse, timeout))
