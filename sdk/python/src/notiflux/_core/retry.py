"""When to try again: docs/protocol.md, sections 5 and 8."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

Jitter = Callable[[float], float]
"""Returns a random number from 0 to a limit."""

MAX_BACKOFF = 30.0
_FIRST_BACKOFF = 0.5
_MAX_AFTER = 300.0


def full_jitter(limit: float) -> float:
    """Return a random number from 0 to limit."""
    return random.uniform(0, limit)


def backoff(failures: int, jitter: Jitter = full_jitter) -> float:
    """Return how long to wait after so many failures before the last one: full jitter."""
    return jitter(min(MAX_BACKOFF, _FIRST_BACKOFF * 2 ** min(failures, 10)))


def bounded(after: float) -> float:
    """Limit how long a server can make a client wait."""
    return max(0.0, min(after, _MAX_AFTER))


def retry_after(value: str | None, now: Callable[[], datetime] | None = None) -> float:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3); 0 without one."""
    if value is None:
        return 0.0
    if value.isascii() and value.isdigit() and len(value) < 10:
        return bounded(int(value))
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # such as a year of twenty digits
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return bounded((at - (now() if now else datetime.now(timezone.utc))).total_seconds())


def pause(
    failures: int,
    jitter: Jitter,
    *,
    close: int | None = None,
    status: int | None = None,
    bye: str | None = None,
    after: float = 0.0,
) -> float | None:
    """Return how long to wait after a connection, or an attempt to open one, has ended.

    None: the same would happen again.
    """
    if status is not None:
        is_passing = status >= 500 or status == 429
        return bounded(after) + backoff(failures, jitter) if is_passing else None
    if close is not None and is_final(close):
        return None
    is_at_once = (close is not None and 4200 <= close <= 4299) or bye == "too_slow"
    return max(bounded(after), backoff(0 if is_at_once else failures, jitter))


def is_final(close: int) -> bool:
    """Report whether a close code says that the same would happen again.

    After 4003 another token may help, and after 4009, idle, there is something to send.
    """
    return close in (1002, 1003, 1007, 1009) or (
        4000 <= close <= 4099 and close not in (4003, 4009)
    )
