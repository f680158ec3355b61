"""The client for programs with asyncio."""

from __future__ import annotations

import asyncio
import inspect
import ssl as ssl_module
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import TypeVar
from weakref import WeakSet

import httpx

from notiflux._async_link import AsyncLink
from notiflux._core import asking, calls
from notiflux._core.channel import Mode, Terms
from notiflux._core.hub import Hub
from notiflux._core.link import Link
from notiflux._core.plan import (
    Broken,
    Insecure,
    Plan,
    Request,
    Response,
    Returned,
    Sleep,
    Step,
    TokenRequest,
    Unsent,
    advance,
)
from notiflux._core.publish import positions_of, publish, publish_all
from notiflux._core.tokens import Tokens, names
from notiflux._http import (
    MAX_ANSWER,
    build,
    failure_of,
    response_of,
    server_url,
)
from notiflux._websocket import options
from notiflux._within import within
from notiflux.errors import NotifluxError
from notiflux.events import History, Position, Presence, Publication
from notiflux.subscription import DEFAULT_BUFFER, AsyncSubscription, pattern_start, starts

AsyncTokenFunction = Callable[[TokenRequest], str | Awaitable[str | None] | None]
"""Returns a token for a request, or None if there is none. It is not called concurrently."""

_T = TypeVar("_T")

_TOKEN_TIMEOUT = 30.0


class AsyncClient:
    """Publishes to topics of one server, subscribes to them and reads their histories.

    The URL is like ``https://push.example.com``. The token is a JWT, a function that returns
    one, or None. A function, with ``async`` or without, is called when a token is first needed
    for a topic, and again when the server refuses it; it has 30 s. Methods repeat requests that
    fail for now, for up to ``timeout`` seconds, and raise NotifluxError. A client belongs to one
    event loop. When a method is cancelled, it may have published.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | AsyncTokenFunction | None = None,
        timeout: float = calls.TIMEOUT,
        ssl: ssl_module.SSLContext | None = None,
    ) -> None:
        self._url = server_url(url)
        self._timeout = timeout
        self._function = token if callable(token) else None
        tokens = Tokens(None if callable(token) else token, callable(token))
        self._context = calls.Context(tokens, calls.Epochs())
        self._asking = asyncio.Lock()
        self._closed = asyncio.Event()
        self._ssl = httpx.create_ssl_context() if ssl is None else ssl
        self._http = httpx.AsyncClient(verify=self._ssl)
        self._hub = Hub(self._context, self._start)
        self._links: WeakSet[AsyncLink] = WeakSet()

    def __repr__(self) -> str:
        return f"<notiflux.AsyncClient {self._url}>"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End all calls and subscriptions, and close the connections."""
        self._closed.set()
        self._hub.close_all()
        for link in list(self._links):
            await link.join()
        await self._http.aclose()

    async def publish(
        self,
        topic: str,
        data: object,
        *,
        key: str | None = None,
        exclude: str | None = None,
        timeout: float | None = None,
    ) -> Position:
        """Publish a value that json.dumps encodes, and return its position.

        All attempts of a call have the same key, by which the server publishes the message
        once. If it is unknown after 100 s whether the message was published, or after a restart
        of the server in between, the code of the error is ``outcome_unknown``.

        key: identifies the message, for programs that publish again after a crash. For two
        minutes the server publishes messages with the same key once. None: a random key.
        exclude: the name of a connection that does not get the message.
        """
        publication = Publication(topic, data, key, exclude)
        return await self._run(publish(self._context, publication, self._limit(timeout)))

    async def publish_all(
        self, publications: Iterable[Publication], *, timeout: float | None = None
    ) -> list[Position]:
        """Publish messages with few requests, and return their positions in the same order.

        The server publishes them in order, but one that has to be sent again may come after
        later ones. A refused message does not stop the others. If there is one, the method
        raises PublishError, which has all results. Without a timeout each request, of up to
        1,000 messages, is tried for up to 100 s.
        """
        plan = publish_all(self._context, list(publications), timeout)
        return positions_of(await self._run(plan))

    def subscribe(
        self,
        *topics: str,
        since: str | Mapping[str, str] | None = None,
        last: int = 0,
        mode: Mode = "all",
        presence: bool = False,
        buffer: int = DEFAULT_BUFFER,
    ) -> AsyncSubscription:
        """Subscribe to topics, and return an iterator over their events.

        since: the position to resume from; for several topics, positions by topic. If the
        server no longer has all messages after it, the iterator raises LostError first.
        last: begin with up to so many earlier messages, unless there is a position.
        mode: ``latest`` is for loops that need only the newest message: one that is behind
        gets a Skipped in place of older messages.
        presence: become a member of the topics, and get Present, Joined and Left.
        buffer: the most events that wait for the loop, besides 1 MiB of data. If there are
        more, the loop gets them from the history of the topic; what that no longer has is a
        LostError.

        If the server refuses a topic for good, the subscription ends with that error.
        """
        asyncio.get_running_loop()  # raises RuntimeError if there is none
        places = starts(topics, since, last, buffer)
        return AsyncSubscription(self._hub, places, Terms(mode, presence), buffer, self._run)

    def subscribe_pattern(
        self, pattern: str, *, since: str | None = None, buffer: int = DEFAULT_BUFFER
    ) -> AsyncSubscription:
        """Subscribe to all topics that begin with the text before the ``*`` of a pattern.

        The iterator yields the messages of these topics, also of topics that do not exist yet.
        Messages of one topic are in order. Subscribed and LostError have the pattern as their
        ``topic``.

        since: the position of the pattern to resume from, from ``positions`` of a former
        subscription. Some messages after it may come again.
        buffer: the most events that wait for the loop, besides 1 MiB of data. If there are
        more, the client gets them from the server again; what that no longer has is a LostError.

        If the server refuses the pattern for good, the subscription ends with that error; a
        server that is too old for patterns refuses it with ``malformed``.
        """
        asyncio.get_running_loop()  # raises RuntimeError if there is none
        places = pattern_start(pattern, since, buffer)
        return AsyncSubscription(self._hub, places, Terms(is_pattern=True), buffer, self._run)

    async def history(
        self,
        topic: str,
        *,
        since: str | None = None,
        limit: int = 100,
        timeout: float | None = None,
    ) -> History:
        """Return messages that the server still has: the last ones, or those after ``since``."""
        plan = calls.history(self._context, topic, since, limit, self._limit(timeout))
        return await self._run(plan)

    async def position(self, topic: str, *, timeout: float | None = None) -> Position:
        """Return the position of the newest message of a topic."""
        return (await self.history(topic, limit=0, timeout=timeout)).position

    async def presence(self, topic: str, *, timeout: float | None = None) -> Presence:
        """Return the members of a topic."""
        return await self._run(calls.presence(self._context, topic, self._limit(timeout)))

    def _start(self, link: Link) -> None:
        running = AsyncLink(link, self._url, options(self._url, self._ssl), self._ask)
        self._links.add(running)
        running.start()

    def _limit(self, timeout: float | None) -> float:
        return self._timeout if timeout is None else timeout

    async def _run(self, plan: Plan[_T]) -> _T:
        """Run a plan."""
        result: object = None
        failure: Exception | None = None
        while True:
            step = advance(plan, result, failure)
            if isinstance(step, Returned):
                return step.value
            result = failure = None
            try:
                result = await self._perform(step)
            except (Unsent, Broken, Insecure, NotifluxError) as error:
                failure = error

    async def _perform(self, step: Step) -> object:
        if self._closed.is_set():
            raise NotifluxError("closed", "the client is closed")
        if isinstance(step, Request):
            return await self._request(step)
        if isinstance(step, Sleep):
            await self._sleep(step.seconds)
            return None
        return await self._ask(step.request)

    async def _sleep(self, seconds: float) -> None:
        try:
            await within(seconds, self._closed.wait())
        except asyncio.TimeoutError:
            return

    async def _request(self, request: Request) -> Response:
        try:
            # httpx ends each step in time; together they may take longer.
            return await within(request.timeout + 1, self._exchange(request))
        except asyncio.TimeoutError:
            raise Broken("the answer is too slow") from None
        except httpx.RequestError as error:
            raise failure_of(error) from error
        except RuntimeError:
            if self._closed.is_set():
                raise NotifluxError("closed", "the client is closed") from None
            raise

    async def _exchange(self, request: Request) -> Response:
        sent = await self._http.send(build(self._http, self._url, request), stream=True)
        body = bytearray()
        try:
            async for part in sent.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER:
                    raise Broken("the answer is too large")
        finally:
            await sent.aclose()
        return response_of(sent, bytes(body))

    async def _ask(self, request: TokenRequest) -> str | None:
        tokens = self._context.tokens
        assert self._function is not None
        asking.check(self)
        async with self._asking:
            token = tokens.peek(request.scope, names(request))
            if token is not None:  # another task has asked
                return token
            with asking.guard(self):
                answer = self._function(request)
                if inspect.isawaitable(answer):
                    answer = await within(_TOKEN_TIMEOUT, answer)
                if answer is not None:
                    tokens.put(request, answer)
        return answer
