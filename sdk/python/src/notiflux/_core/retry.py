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
    except ValueError:
        return 0.0
    if at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return bounded((at - (now() if now else datetime.now(timezone.utc))).total_seconds())
