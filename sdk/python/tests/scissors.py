"""A proxy that breaks each connection after a number of bytes from the server."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from urllib.parse import urlsplit

from live import Loop

MOST_BYTES = 3000


class Scissors:
    """Breaks the next ``cuts`` connections, each at a random byte of what the server says."""

    def __init__(self, server: str, rng: random.Random, cuts: int, most: int = MOST_BYTES) -> None:
        parts = urlsplit(server)
        self._server = parts.hostname or "", parts.port or 0
        self._rng = rng
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()
        self.left = cuts
        self.cut = 0
        self._loop = Loop()
        self._listener = self._loop.run(self._listen())
        self.url = f"http://127.0.0.1:{self._listener.sockets[0].getsockname()[1]}"

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._accept, "127.0.0.1", 0)

    def close(self) -> None:
        async def close() -> None:
            self._listener.close()
            for _ in range(5):
                await asyncio.sleep(0)  # what has been accepted becomes a task
            for task in self._tasks:
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks)

        self._loop.run(close())
        self._loop.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with suppress(OSError, asyncio.CancelledError):
                await self._pass(reader, writer)
        finally:
            writer.close()  # There may have been no connection to the server yet.

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        budget = None
        if self.left > 0:
            self.left -= 1
            self.cut += 1
            budget = self._rng.randrange(self._most)
        up = asyncio.create_task(self._copy(reader, to_server, None))
        try:
            await self._copy(from_server, writer, budget)
        finally:
            up.cancel()
            await asyncio.wait([up])
            for end in (writer, to_server):
                end.transport.abort() if budget is not None else end.close()

    async def _copy(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, budget: int | None
    ) -> None:
        with suppress(OSError):
            while budget is None or budget > 0:
                data = await source.read(16384 if budget is None else min(budget, 16384))
                if not data:
                    break
                sink.write(data)
                await sink.drain()
                if budget is not None:
                    budget -= len(data)
            # What was written before the cut still arrives.
            if budget is not None:
                sink.close()
                await sink.wait_closed()
        if budget is None and not sink.is_closing() and sink.can_write_eof():
            with suppress(OSError):
                sink.write_eof()
