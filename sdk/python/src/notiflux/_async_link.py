"""Runs a link in tasks."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from websockets.asyncio.client import ClientConnection, connect

from notiflux._core import asking
from notiflux._core.link import (
    Ask,
    Asked,
    Connect,
    Ended,
    Happening,
    Link,
    Send,
    Text,
    Wait,
)
from notiflux._core.plan import TokenRequest
from notiflux._websocket import Options, check, ended, socket_url, text_of
from notiflux._within import within
from notiflux.errors import NotifluxError

_MOST_FRAMES = 64
"""How many frames wait before the network has to."""


class AsyncLink:
    """Runs a link in a task, and each of its connections in another one."""

    def __init__(
        self,
        link: Link,
        url: str,
        options: Options,
        ask: Callable[[TokenRequest], Awaitable[str | None]],
    ) -> None:
        self._link = link
        self._plan = link.run()
        self._url = url
        self._options = options
        self._ask = ask
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._asking: set[asyncio.Task[None]] = set()
        self._happenings: deque[Happening] = deque()
        self._is_woken = asyncio.Event()
        self._has_room = asyncio.Event()
        link.wake = self.wake  # type: ignore[method-assign]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="notiflux")

    async def join(self) -> None:
        """Wait until the link has ended."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def wake(self) -> None:
        """End a Wait."""
        self._is_woken.set()

    async def _run(self) -> None:
        result: list[Happening] | None = None
        try:
            while True:
                try:
                    step = self._plan.send(result)
                except StopIteration:
                    return
                except Exception as error:
                    self._link.fail(error)
                    return
                result = None
                if isinstance(step, Wait):
                    result = await self._wait(step.until)
                elif isinstance(step, Connect):
                    self._reader = asyncio.create_task(self._read(), name="notiflux socket")
                elif isinstance(step, Ask):
                    task = asyncio.create_task(self._ask_token(step.request))
                    self._asking.add(task)
                    task.add_done_callback(self._asking.discard)
                elif isinstance(step, Send):
                    if self._socket is not None:
                        # If it fails, the task that reads finds out.
                        with suppress(Exception):
                            await self._socket.send(step.text)
                else:
                    await self._disconnect()
        except asyncio.CancelledError:
            message = "the tasks of the event loop were cancelled"
            self._link.end(NotifluxError("closed", message))
            raise
        finally:
            await self._disconnect()
            for task in self._asking:
                task.cancel()

    async def _wait(self, until: float | None) -> list[Happening]:
        if not self._happenings and not self._is_woken.is_set():
            timeout = None if until is None else max(0, until - time.monotonic())
            with suppress(asyncio.TimeoutError):
                await within(timeout, self._is_woken.wait())
        self._is_woken.clear()
        happenings = list(self._happenings)
        self._happenings.clear()
        self._has_room.set()
        return happenings

    async def _disconnect(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.cancel()
            await asyncio.wait([reader])
        self._happenings = deque(h for h in self._happenings if isinstance(h, Asked))

    async def _read(self) -> None:
        """Read a connection until it ends, or the task is cancelled."""
        try:
            async with connect(socket_url(self._url), **self._options) as socket:
                self._socket = socket
                host = socket.request.headers.get("Host") if socket.request is not None else None
                wrong = check(self._url, host, socket.subprotocol)
                while wrong is None:
                    await self._put(Text(text_of(await socket.recv())))
        except Exception as error:
            wrong = ended(error)
        finally:
            opened, self._socket = self._socket, None
            if opened is not None:
                opened.transport.abort()  # closing it may have been cancelled, too
        await self._put(wrong)

    async def _put(self, happening: Text | Ended) -> None:
        while len(self._happenings) >= _MOST_FRAMES:
            self._has_room.clear()
            await self._has_room.wait()
        self._happenings.append(happening)
        self._is_woken.set()

    async def _ask_token(self, request: TokenRequest) -> None:
        try:
            answer = Asked(request, await self._ask(request))
        except NotifluxError as error:
            answer = Asked(request, None, error)
        except asyncio.CancelledError:
            # The function raised it, or nobody needs the answer any more.
            answer = Asked(request, None, asking.failed("the token function was cancelled"))
        self._happenings.append(answer)
        self._is_woken.set()
