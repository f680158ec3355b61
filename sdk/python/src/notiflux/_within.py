"""Limits how long something takes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_T = TypeVar("_T")


async def within(seconds: float | None, what: Awaitable[_T]) -> _T:
    """Return the result, or cancel ``what`` and raise asyncio.TimeoutError after a time.

    Unlike asyncio.wait_for before Python 3.12, it never loses a cancellation that comes at the
    same moment as the result.
    """
    task = asyncio.ensure_future(what)
    is_late = False
    try:
        done, _ = await asyncio.wait([task], timeout=seconds)
        is_late = not done
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # asyncio logs one that nobody has looked at
    if is_late and task.cancelled():
        raise asyncio.TimeoutError
    return task.result()
