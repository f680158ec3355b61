"""Requests with httpx, for both clients."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import SplitResult, urlsplit

import httpx

from notiflux._core.plan import Broken, Insecure, Request, Response, Unsent
from notiflux._core.retry import retry_after

MAX_ANSWER = 64 << 20
"""More than a server answers, in bytes."""

_CONNECT_TIMEOUT = 10.0
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)


def server_url(url: str) -> str:
    """Return the URL without a slash at its end. It raises ValueError if it is not one."""
    hint = "use a URL like https://push.example.com"
    try:
        parts: SplitResult = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise ValueError(f"{url!r}: {error}; {hint}") from None
    if parts.username or parts.password:
        raise ValueError(f"the URL contains a user name or a password; {hint}")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is not the URL of a server; {hint}")
    return (parts.scheme + url[len(parts.scheme) :]).rstrip("/")


def build(client: httpx.Client | httpx.AsyncClient, url: str, request: Request) -> httpx.Request:
    """Return a request of httpx."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "notiflux-python"}
    if request.token is not None:
        headers["Authorization"] = f"Bearer {request.token}"
    if request.body is not None:
        headers["Content-Type"] = "application/json"
    timeout = httpx.Timeout(request.timeout, connect=min(request.timeout, _CONNECT_TIMEOUT))
    return client.build_request(
        request.method,
        url + request.path,
        params=request.query or None,
        content=request.body,
        headers=headers,
        timeout=timeout,
    )


def response_of(response: httpx.Response, body: bytes) -> Response:
    """Return what the plans need of an answer."""
    return Response(response.status_code, body, retry_after(response.headers.get("Retry-After")))


def failure_of(error: httpx.RequestError) -> Unsent | Broken | Insecure:
    """Return what a failure of httpx means."""
    failure: Unsent | Broken | Insecure
    if is_insecure(error):
        failure = Insecure(str(error) or type(error).__name__)
    elif isinstance(error, _NEVER_SENT):
        failure = Unsent(str(error) or type(error).__name__)
    else:
        failure = Broken(str(error) or type(error).__name__)
    failure.__cause__ = error
    return failure


def is_insecure(error: BaseException) -> bool:
    """Report whether one side did not accept the other's certificate or TLS version."""
    return any(
        isinstance(cause, ssl.SSLCertVerificationError)
        or (isinstance(cause, ssl.SSLError) and "ALERT" in (cause.reason or ""))
        or (isinstance(cause, ssl.SSLError) and "VERSION" in (cause.reason or ""))
        for cause in _causes(error)
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
