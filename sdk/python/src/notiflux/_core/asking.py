"""Asks the token function of a client."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from notiflux.errors import NotifluxError

_asking: ContextVar[frozenset[int]] = ContextVar("notiflux_asking", default=frozenset())


@contextmanager
def guard(client: object) -> Iterator[None]:
    """Turn what a token function raises into a NotifluxError, unless it asks its own client."""
    token = _asking.set(_asking.get() | {id(client)})
    try:
        yield
    except Exception as error:
        raise raised(error) from error
    finally:
        _asking.reset(token)


def check(client: object) -> None:
    """Raise if a token function needs a token of its own client."""
    if id(client) in _asking.get():
        raise failed("the token function called its own client; use another client in it")


def raised(cause: BaseException) -> NotifluxError:
    """Return the error of a token function that raised an exception."""
    error = failed(f"the token function raised {type(cause).__name__}")
    error.__cause__ = cause
    return error


def failed(message: str) -> NotifluxError:
    """Return the error of a token function that does not return a token."""
    return NotifluxError("token_failed", message, retry=True)
