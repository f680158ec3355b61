"""Runs a link in threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from websockets.sync.client import ClientConnection, connect
from websockets.sync.connection import Connection

from notiflux._core import asking
from notiflux._core.link import (
    Ask,
    Asked,
    Connect,
    Disconnect,
    Ended,
    Happening,
    Link,
    LinkStep,
    Send,
    Text,
    Wait,
)
from notiflux._core.plan import TokenRequest
from notiflux._websocket import Options, check, ended, socket_url, text_of
from notiflux.errors import NotifluxError

_MOST_FRAMES = 64
"""How many frames wait before the network has to."""


class SyncLink:
    """Runs a link in a thread, and each of its connections in another one."""

    def __init__(
        self,
        link: Link,
        url: str,
        options: Options,
        ask: Callable[[TokenRequest], str | None],
    ) -> None:
        self._link = link
        self._plan = link.run()
        self._url = url
        self._options = options
        self._ask = ask
        self._connection: _Connection | None = None
        self._changed = threading.Condition()
        # Guarded by _changed.
        self._happenings: deque[Happening] = deque()
        self._is_woken = False
        link.wake = self.wake  # type: ignore[method-assign]
        self._thread = threading.Thread(target=self._run, name="notiflux", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self, timeout: float) -> None:
        """Wait until the link has ended."""
        if self._thread is not threading.current_thread():
            self._thread.join(timeout)

    def wake(self) -> None:
        """End a Wait."""
        with self._changed:
            self._is_woken = True
            self._changed.notify_all()

    def _run(self) -> None:
        result: list[Happening] | None = None
        while True:
            try:
                result = self._perform(self._plan.send(result))
            except StopIteration:
                return
            except Exception as error:  # a fault, or no thread can start
                self._disconnect()
                self._link.fail(error)
                return

    def _perform(self, step: LinkStep) -> list[Happening] | None:
        if isinstance(step, Wait):
            return self._wait(step.until)
        if isinstance(step, Connect):
            self._connection = _Connection(self)
        elif isinstance(step, Ask):
            threading.Thread(target=self._ask_token, args=(step.request,), daemon=True).start()
        elif isinstance(step, Send):
            if self._connection is not None:
                self._connection.send(step.text)
        elif isinstance(step, Disconnect):
            self._disconnect()
        return None

    def _wait(self, until: float | None) -> list[Happening]:
        with self._changed:
            while not self._happenings and not self._is_woken:
                timeout = None if until is None else until - time.monotonic()
                if timeout is not None and timeout <= 0:
                    break
                self._changed.wait(timeout)
            self._is_woken = False
            happenings = list(self._happenings)
            self._happenings.clear()
            self._changed.notify_all()
            return happenings

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with self._changed:
            connection.is_over = True
            self._happenings = deque(h for h in self._happenings if isinstance(h, Asked))
            self._changed.notify_all()
        connection.close()

    def _ask_token(self, request: TokenRequest) -> None:
        try:
            answer = Asked(request, self._ask(request))
        except NotifluxError as error:
            answer = Asked(request, None, error)
        except BaseException as error:  # such as SystemExit, which ends only this thread
            answer = Asked(request, None, asking.raised(error))
        with self._changed:
            self._happenings.append(answer)
            self._changed.notify_all()

    def cares(self, connection: _Connection) -> bool:
        """Report whether a connection is still in use."""
        with self._changed:
            return not connection.is_over

    def put(self, connection: _Connection, happening: Text | Ended) -> None:
        """Report what has happened to a connection."""
        with self._changed:
            while len(self._happenings) >= _MOST_FRAMES and not connection.is_over:
                self._changed.wait()
            if not connection.is_over:
                self._happenings.append(happening)
                self._changed.notify_all()

    def open(self) -> ClientConnection:
        """Open a connection."""
        return connect(socket_url(self._url), **self._options)

    def check(self, socket: Connection) -> Ended | None:
        """Return what is wrong with a connection."""
        host = socket.request.headers.get("Host") if socket.request is not None else None
        return check(self._url, host, socket.subprotocol)


class _Connection:
    """A connection, or an attempt to open one."""

    def __init__(self, link: SyncLink) -> None:
        self._link = link
        self._socket: Connection | None = None
        self.is_over = False
        """It is not in use any more. Guarded by the lock of the link."""
        threading.Thread(target=self._run, name="notiflux socket", daemon=True).start()

    def _run(self) -> None:
        try:
            with self._link.open() as socket:
                self._socket = socket
                wrong = self._link.check(socket)
                while wrong is None and self._link.cares(self):
                    self._link.put(self, Text(text_of(socket.recv())))
        except Exception as error:
            wrong = ended(error)
        if wrong is not None:
            self._link.put(self, wrong)

    def send(self, text: str) -> None:
        """Send a command. If that fails, the thread that reads finds out."""
        if self._socket is not None:
            with suppress(Exception):
                self._socket.send(text)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            with suppress(Exception):
                self._socket.close()
