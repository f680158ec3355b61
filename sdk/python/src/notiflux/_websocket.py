"""WebSockets with the package websockets, for both clients."""

from __future__ import annotations

import ssl
from typing import TypedDict
from urllib.parse import urlsplit

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from notiflux._core.answers import problem
from notiflux._core.link import OPEN_TIMEOUT, Ended
from notiflux._core.retry import retry_after
from notiflux._http import MAX_ANSWER, is_insecure
from notiflux.errors import NotifluxError

PROTOCOL = Subprotocol("notiflux.v1.json")
CLOSE_TIMEOUT = 1.0
PING_INTERVAL = 25.0
PING_TIMEOUT = 10.0
"""A connection is dead if a ping is not answered for so long. Silence alone says nothing."""


class Options(TypedDict):
    """Arguments of both functions connect."""

    subprotocols: list[Subprotocol]
    user_agent_header: str
    open_timeout: float
    ping_interval: float
    ping_timeout: float
    close_timeout: float
    max_size: int
    ssl: ssl.SSLContext | None


def options(url: str, context: ssl.SSLContext) -> Options:
    """Return how to connect to a server."""
    return {
        "subprotocols": [PROTOCOL],
        "user_agent_header": "notiflux-python",
        "open_timeout": OPEN_TIMEOUT,
        "ping_interval": PING_INTERVAL,
        "ping_timeout": PING_TIMEOUT,
        "close_timeout": CLOSE_TIMEOUT,
        "max_size": MAX_ANSWER,
        "ssl": context if url.startswith("https:") else None,
    }


def socket_url(url: str) -> str:
    """Return the URL of the WebSocket."""
    return "ws" + url.removeprefix("http") + "/ws"


def check(url: str, host: str | None, subprotocol: str | None) -> Ended | None:
    """Return what is wrong with a connection. Tokens must not go to another host."""
    parts = urlsplit(url)
    default = 443 if parts.scheme == "https" else 80
    name = parts.hostname or ""
    if not name.isascii():
        name = name.encode("idna").decode()
    elif ":" in name:
        name = f"[{name}]"
    expected = name if parts.port in (None, default) else f"{name}:{parts.port}"
    if host != expected:
        error = NotifluxError("bad_answer", f"the server redirects to another host: {host}")
        return Ended(error=error, is_final=True)
    if subprotocol != PROTOCOL:
        error = NotifluxError("bad_answer", f"the server does not know {PROTOCOL}")
        return Ended(error=error, is_final=True)
    return None


def ended(error: Exception) -> Ended:
    """Return what an exception of websockets means."""
    if isinstance(error, ConnectionClosed):
        if error.rcvd is None:
            return Ended("the connection broke")
        return Ended(error.rcvd.reason, close=error.rcvd.code)
    if isinstance(error, InvalidStatus):
        response = error.response
        refusal = problem(response.status_code, bytes(response.body or b""))
        after = retry_after(response.headers.get("Retry-After"))
        return Ended(status=response.status_code, after=after, error=refusal)
    reason = str(error) or type(error).__name__
    if is_insecure(error):
        failure = NotifluxError("insecure", reason)
        failure.__cause__ = error
        return Ended(error=failure, is_final=True)
    return Ended(reason)


def text_of(frame: str | bytes) -> str:
    """Return the text of a frame."""
    if isinstance(frame, bytes):
        raise TypeError("the server sent a binary message")
    return frame
