"""The tokens of a client."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

from notiflux._core.plan import Plan, Scope, TokenRequest, ask_token
from notiflux.errors import NotifluxError

MAX_TOPICS = 64
"""How many topics a token function is told at once: a token has room for this many names."""

_MAX_KEPT = 10_000
_PATTERN = "\x01"
"""Begins the name by which a pattern is kept. No topic begins with it."""

_Key = tuple[Scope, str]


def name_of_pattern(pattern: str) -> str:
    """Return the name of a pattern among topics."""
    return _PATTERN + pattern


def names(request: TokenRequest) -> tuple[str, ...]:
    """Return what a request is about: names of topics and patterns."""
    return request.topics + tuple(map(name_of_pattern, request.patterns))


class Tokens:
    """Keeps the token of each scope and topic or pattern until the server refuses it.

    It does not look into tokens, and learns from the server when one has expired. It is safe
    for concurrent use.
    """

    def __init__(self, fixed: str | None, has_source: bool) -> None:
        if fixed is not None:
            check(fixed)
        self._fixed = fixed
        self.has_source = has_source
        """Whether there is a token function."""
        self._lock = threading.Lock()
        self._kept: OrderedDict[_Key, str] = OrderedDict()
        self._refused: OrderedDict[_Key, str] = OrderedDict()

    def peek(self, scope: Scope, topics: Sequence[str]) -> str | None:
        """Return the one token for all topics, or None if the token function has to be asked."""
        if not self.has_source:
            return self._fixed
        with self._lock:
            tokens = {self._kept.get((scope, topic)) for topic in topics}
            return tokens.pop() if len(tokens) == 1 else None

    def request(self, scope: Scope, topics: Sequence[str]) -> TokenRequest:
        """Return what to tell the token function."""
        with self._lock:
            refused = (self._refused.get((scope, topic)) for topic in topics)
            code = next((code for code in refused if code is not None), None)
        patterns = tuple(name[1:] for name in topics if name.startswith(_PATTERN))
        topics = tuple(name for name in topics if not name.startswith(_PATTERN))
        return TokenRequest(scope, topics, code, patterns)

    def put(self, request: TokenRequest, token: str) -> None:
        """Keep what the token function returned."""
        check(token)
        with self._lock:
            for name in names(request):
                key = (request.scope, name)
                self._refused.pop(key, None)
                self._kept.pop(key, None)
                self._kept[key] = token
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)

    def drop(self, scope: Scope, topics: Sequence[str], token: str | None, code: str) -> bool:
        """Forget a token that the server refused. It reports whether there may be another."""
        if not self.has_source:
            return False
        with self._lock:
            for topic in topics:
                key = (scope, topic)
                if self._kept.get(key) == token:
                    self._kept.pop(key, None)
                    self._refused[key] = code
            while len(self._refused) > _MAX_KEPT:
                self._refused.popitem(last=False)
        return True

    def get(self, scope: Scope, topics: Sequence[str]) -> Plan[str | None]:
        """Return the one token for all topics; None: the client has no tokens."""
        token = self.peek(scope, topics)
        if token is not None or not self.has_source:
            return token
        token = yield from ask_token(self.request(scope, topics))
        if token is None:
            raise logged_out(topics[0])
        return token


def logged_out(topic: str) -> NotifluxError:
    """Return the error for a token function that returned None."""
    what = "pattern" if topic.startswith(_PATTERN) else "topic"
    message = f"there is no token for the {what}"
    return NotifluxError("logged_out", message, topic=topic.removeprefix(_PATTERN))


def check(token: str) -> None:
    """Raise ValueError if a token has a character that no JWT has. The error omits the token."""
    for at, char in enumerate(token):
        if not "!" <= char <= "~":
            raise ValueError(
                f"the token has the character {char!r} at index {at} of {len(token)}; "
                "a JWT has only letters, digits, '-', '_' and '.'"
            )
    if not token:
        raise ValueError("the token is empty; use None for no token")
