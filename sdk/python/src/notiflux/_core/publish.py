"""Publishing: each message once, though requests fail.

An attempt without an answer may have published its messages. From then on they are in doubt.
Each has a key by which the server recognizes it, for longer than a call takes. If a message is
still in doubt when time is up, or when the server has been restarted in between, the error
says so: outcome_unknown.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass

from notiflux._core import answers
from notiflux._core.calls import (
    TIMEOUT,
    Attempts,
    Context,
    Refused,
    SameToken,
    bad_answer,
    insecure,
    is_token_error,
    timed_out,
)
from notiflux._core.json import BadJSON, encode
from notiflux._core.plan import Broken, Insecure, Plan, Request, Unsent
from notiflux._core.tokens import MAX_TOPICS
from notiflux.errors import NotifluxError, PublishError
from notiflux.events import Position, Publication

_MAX_MESSAGES = 1000
_MAX_BYTES = 1 << 20

Result = Position | NotifluxError


@dataclass
class _Item:
    """A message to publish."""

    topic: str
    body: bytes
    result: Result
    """That of the last attempt."""
    doubt: int | None = None
    """How many epochs were known when it came into doubt; None: it is not."""


def publish(context: Context, publication: Publication, timeout: float) -> Plan[Position]:
    """Publish one message."""
    results = yield from publish_all(context, [publication], timeout)
    if isinstance(results[0], NotifluxError):
        raise results[0]
    return results[0]


def publish_all(
    context: Context, publications: Sequence[Publication], timeout: float | None
) -> Plan[list[Result]]:
    """Publish messages with few requests, and return their results in the same order.

    Without a timeout, each request is repeated for 100 s if necessary.
    """
    items = [_item(publication) for publication in publications]
    end = None if timeout is None else context.clock() + timeout
    for batch in _batches(context, items):
        deadline = context.clock() + TIMEOUT
        yield from _run(context, batch, deadline if end is None else min(deadline, end))
    return [item.result for item in items]


def positions_of(results: list[Result]) -> list[Position]:
    """Return the positions, or raise PublishError if a message was not published."""
    positions = [result for result in results if not isinstance(result, NotifluxError)]
    if len(positions) < len(results):
        raise PublishError(results)
    return positions


def _item(publication: Publication) -> _Item:
    """Encode a message now, so that each attempt sends the same."""
    value = {
        "topic": publication.topic,
        "message": publication.data,
        "key": secrets.token_urlsafe(16) if publication.key is None else publication.key,
    }
    if publication.exclude is not None:
        value["exclude"] = publication.exclude
    return _Item(publication.topic, encode(value), timed_out(None))


def _batches(context: Context, items: Sequence[_Item]) -> Iterator[list[_Item]]:
    """Divide messages into requests: by what a server accepts, and by token."""
    batch: list[_Item] = []
    topics: set[str] = set()
    size = 0
    token: str | None = None
    for item in items:
        its_token = context.tokens.peek("broadcast", (item.topic,))
        if batch and (
            its_token != token
            or len(batch) == _MAX_MESSAGES
            or size + len(item.body) + len(",]") > _MAX_BYTES
            or (its_token is None and item.topic not in topics and len(topics) == MAX_TOPICS)
        ):
            yield batch
            batch, topics, size = [], set(), 0
            its_token = context.tokens.peek("broadcast", (item.topic,))
        token = its_token
        batch.append(item)
        topics.add(item.topic)
        size += len(item.body) + len(",")
    if batch:
        yield batch


def _run(context: Context, items: list[_Item], deadline: float) -> Plan[None]:
    """Publish messages with one request, again and again, until all have their final result."""
    attempts = Attempts(context, "broadcast", (), deadline)
    while items:
        attempts.topics = tuple(dict.fromkeys(item.topic for item in items))
        try:
            after = yield from _once(attempts, items)
        except _NoToken:
            break
        except _TooMuch:
            half = len(items) // 2
            yield from _run(context, items[:half], deadline)
            yield from _run(context, items[half:], deadline)
            return
        is_renewed = any(attempts.renew(error) for error in _errors(items))
        items = [item for item in items if not _is_final(item, is_renewed)]
        if items and not is_renewed and not (yield from attempts.wait(after)):
            break
        items = [item for item in items if not _is_forgotten(item, context)]
    for item in items:
        _end(item)


def _once(attempts: Attempts, items: list[_Item]) -> Plan[float]:
    """Send messages once, and set their results. It returns how long the server asks to wait."""
    single = len(items) == 1
    body = items[0].body if single else b"[" + b",".join(item.body for item in items) + b"]"
    after = 0.0
    is_doubtful = False
    error: NotifluxError
    try:
        response = yield from attempts.once(Request("POST", "/broadcast", 0, None, body=body))
        results = answers.published(response.body, single)
        if len(results) != len(items):
            raise BadJSON("it has another number of results")
    except Refused as refused:
        error, after = refused.error, refused.after
        if not single and (error.status == 413 or error.code == "malformed"):
            raise _TooMuch from None
        is_doubtful = error.code == "refused" and (error.status or 0) >= 500
    except Broken as broken:
        error, is_doubtful = timed_out(broken), True
    except BadJSON as bad:
        error, is_doubtful = bad_answer(bad), True
    except Unsent as unsent:
        error = timed_out(unsent)
    except Insecure as cause:
        error = insecure(cause)
    except SameToken:
        raise _NoToken from None  # The results say how the server refused it.
    except NotifluxError as failure:
        for item in items:
            item.result = failure
        raise _NoToken from None
    else:
        for item, result in zip(items, results, strict=True):
            item.result = result
            if isinstance(result, NotifluxError):
                _note_doubt(item, attempts.context, result.code == "outcome_unknown")
            else:
                attempts.context.epochs.see(result)
        return 0.0
    for item in items:
        item.result = error
        _note_doubt(item, attempts.context, is_doubtful or error.code == "outcome_unknown")
    return after


class _TooMuch(Exception):
    """The server may accept a part of a request that it refused as a whole.

    The request is too large for its settings, or one message is JSON that it does not accept.
    """


class _NoToken(Exception):
    """There is no token for another attempt."""


def _errors(items: Sequence[_Item]) -> Iterator[NotifluxError]:
    return (item.result for item in items if isinstance(item.result, NotifluxError))


def _is_final(item: _Item, is_renewed: bool) -> bool:
    """Report whether there is no further attempt for a message."""
    error = item.result
    if not isinstance(error, NotifluxError):
        return True
    if error.retry or (is_renewed and is_token_error(error)):
        return False
    _end(item)
    return True


def _note_doubt(item: _Item, context: Context, is_doubtful: bool) -> None:
    if is_doubtful and item.doubt is None:
        # Without any epoch, there is none that a new one could differ from.
        item.doubt = context.epochs.count() or sys.maxsize


def _is_forgotten(item: _Item, context: Context) -> bool:
    """Report whether the server may have forgotten the key of a message in doubt."""
    if item.doubt is None or context.epochs.count() <= item.doubt:
        return False
    _end(item)
    return True


def _end(item: _Item) -> None:
    """Give up. What the last attempt says does not hide that an earlier one may have published."""
    error = item.result
    assert isinstance(error, NotifluxError)
    if item.doubt is not None and error.code != "outcome_unknown":
        item.result = NotifluxError(
            "outcome_unknown", "the message may have been published", retry=True
        )
        item.result.__cause__ = error
    else:
        item.result = copy(error)
        item.result.__cause__ = error.__cause__
    item.result.topic = item.topic
