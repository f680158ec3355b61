"""The real server, and one face for both clients."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import threading
from collections.abc import Coroutine, Iterable
from pathlib import Path
from signal import SIGSTOP
from typing import IO, Any, TypeVar

from notiflux import (
    AsyncClient,
    AsyncSubscription,
    Client,
    Event,
    History,
    LostError,
    NotifluxError,
    Position,
    Presence,
    Publication,
    Signer,
    Subscription,
)

_T = TypeVar("_T")

DEADLINE = 60.0
"""Seconds after which a test fails that waits for something."""


def binary(folder: Path) -> Path:
    """Return the server: that of the environment, or one built from this checkout."""
    if found := os.environ.get("NOTIFLUX"):
        return Path(found)
    built = folder / "notiflux"
    root = Path(__file__).parents[3]
    subprocess.run(["go", "build", "-o", str(built), "./cmd/notiflux"], cwd=root, check=True)
    return built


class Server:
    """A server that runs until it is stopped, and can be started again on the same port."""

    def __init__(self, program: Path, keys: Path, *flags: str) -> None:
        self._program = program
        self._keys = keys
        self._flags = flags
        self._port = "0"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self.log: list[str] = []
        self.url = ""
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [
                str(self._program),
                "serve",
                f"--jwt-public-key-file={self._keys / 'es256_public.pem'}",
                f"--port={self._port}",
                "--admin-addr=",
                *self._flags,
            ],
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.log.append(line)
            if found := re.search(r"msg=listening .*\burl=(\S+)", line):
                self.url = found[1]
                self._port = self.url.rpartition(":")[2]
                break
        else:
            raise AssertionError("the server did not start:\n" + "".join(self.log))
        self._reader = threading.Thread(target=self._read, args=(self._process.stderr,))
        self._reader.start()

    def _read(self, lines: IO[str]) -> None:
        with lines:
            self.log.extend(lines)

    def signal(self, signal: int) -> None:
        """Send a signal."""
        assert self._process is not None
        self._process.send_signal(signal)
        if signal == SIGSTOP:
            os.waitpid(self._process.pid, os.WUNTRACED)  # until it has stopped

    def kill(self) -> None:
        """End the server at once, as a crash does."""
        self._end("kill")

    def stop(self) -> None:
        """End the server as an operator does."""
        self._end("terminate")

    def _end(self, how: str) -> None:
        if self._process is not None and self._reader is not None:
            getattr(self._process, how)()
            self._process.wait()
            self._reader.join()
            self._process = None


def make_keys(program: Path, folder: Path) -> Signer:
    """Make a pair of keys in a folder."""
    command = [str(program), "keys", f"--dir={folder}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return Signer((folder / "es256_private.pem").read_bytes())


class Loop:
    """An event loop in a thread, so that tests of both clients look the same."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

    def run(self, what: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(DEADLINE)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class SyncLoop:
    """A Subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription

    def next(self, timeout: float = DEADLINE) -> Event:
        return self.subscription.next(timeout)

    def close(self) -> None:
        self.subscription.close()


class AsyncLoop:
    """An AsyncSubscription."""

    def __init__(self, subscription: AsyncSubscription, loop: Loop) -> None:
        self.subscription = subscription
        self._loop = loop

    def next(self, timeout: float = DEADLINE) -> Event:
        async def next() -> Event:
            return await asyncio.wait_for(self.subscription.__anext__(), timeout)

        try:
            return self._loop.run(next())
        except asyncio.TimeoutError:
            raise TimeoutError from None
        except StopAsyncIteration:
            raise StopIteration from None

    def close(self) -> None:
        async def close() -> None:
            self.subscription.close()

        self._loop.run(close())


class SyncFace:
    """A Client."""

    def __init__(self, url: str, **options: Any) -> None:
        self.client = Client(url, **options)

    def close(self) -> None:
        self.client.close()

    close_client = close

    def publish(self, topic: str, data: object, **more: Any) -> Position:
        return self.client.publish(topic, data, **more)

    def publish_all(self, publications: Iterable[Publication], **more: Any) -> list[Position]:
        return self.client.publish_all(publications, **more)

    def history(self, topic: str, **more: Any) -> History:
        return self.client.history(topic, **more)

    def position(self, topic: str) -> Position:
        return self.client.position(topic)

    def presence(self, topic: str) -> Presence:
        return self.client.presence(topic)

    def subscribe(self, *topics: str, **options: Any) -> SyncLoop:
        return SyncLoop(self.client.subscribe(*topics, **options))

    def subscribe_pattern(self, pattern: str, **options: Any) -> SyncLoop:
        return SyncLoop(self.client.subscribe_pattern(pattern, **options))


class AsyncFace:
    """An AsyncClient, which a thread with an event loop runs."""

    def __init__(self, url: str, **options: Any) -> None:
        self._loop = Loop()

        async def make() -> AsyncClient:
            return AsyncClient(url, **options)

        try:
            self.client = self._loop.run(make())
        except BaseException:
            self._loop.close()
            raise

    def close_client(self) -> None:
        self._loop.run(self.client.close())

    def close(self) -> None:
        try:
            self.close_client()
        finally:
            self._loop.close()

    def publish(self, topic: str, data: object, **more: Any) -> Position:
        return self._loop.run(self.client.publish(topic, data, **more))

    def publish_all(self, publications: Iterable[Publication], **more: Any) -> list[Position]:
        return self._loop.run(self.client.publish_all(publications, **more))

    def history(self, topic: str, **more: Any) -> History:
        return self._loop.run(self.client.history(topic, **more))

    def position(self, topic: str) -> Position:
        return self._loop.run(self.client.position(topic))

    def presence(self, topic: str) -> Presence:
        return self._loop.run(self.client.presence(topic))

    def subscribe(self, *topics: str, **options: Any) -> AsyncLoop:
        async def subscribe() -> AsyncSubscription:
            return self.client.subscribe(*topics, **options)

        return AsyncLoop(self._loop.run(subscribe()), self._loop)

    def subscribe_pattern(self, pattern: str, **options: Any) -> AsyncLoop:
        async def subscribe() -> AsyncSubscription:
            return self.client.subscribe_pattern(pattern, **options)

        return AsyncLoop(self._loop.run(subscribe()), self._loop)


Face = SyncFace | AsyncFace
EventLoop = SyncLoop | AsyncLoop


def kinds(loop: EventLoop, count: int) -> list[object]:
    """Return the next events of a loop in short."""
    found: list[object] = []
    for _ in range(count):
        try:
            event = loop.next()
        except LostError as lost:
            found.append(lost.reason)
        except NotifluxError as error:
            found.append(error.code)
        except StopIteration:
            found.append(None)
        else:
            found.append(getattr(event, "data", type(event).__name__))
    return found
