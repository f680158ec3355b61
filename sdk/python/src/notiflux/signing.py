"""Signs tokens. It needs the package cryptography: ``pip install "notiflux[sign]"``."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from notiflux._core.plan import Scope, TokenRequest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

Algorithm = Literal["ES256", "EdDSA", "RS256"]

_MAX_TOKEN = 8 << 10
_PARAMETERS = re.compile(rb"-----BEGIN EC PARAMETERS-----.*?-----END EC PARAMETERS-----\s*", re.S)


class Signer:
    """Signs tokens with a private key, as OpenSSL and ``notiflux keys`` write them.

    The key is in PEM: P-256, Ed25519, or RSA of 2,048 bits or more.

    kid: the name of the key, if the server's public keys have names.
    iss, aud: issuer and audience of the tokens, for a server with ``--jwt-issuer`` and
    ``--jwt-audience``.
    """

    def __init__(
        self,
        key: str | bytes,
        *,
        kid: str | None = None,
        iss: str | None = None,
        aud: str | None = None,
    ) -> None:
        self._key = _load(key.encode() if isinstance(key, str) else key)
        self._kid = kid
        self._origin: dict[str, str] = {}
        for name, text in (("iss", iss), ("aud", aud)):
            if text is None:
                continue
            if not isinstance(text, str) or not text:
                raise ValueError(f"{name} is {text!r}; use a text that is not empty, or None")
            self._origin[name] = text
        self.algorithm: Algorithm = _algorithm(self._key)
        """What the header of the tokens says."""

    def __repr__(self) -> str:
        return f"<notiflux.Signer {self.algorithm}>"

    def sign(
        self,
        sub: str,
        topics: str | Iterable[str] = (),
        *,
        patterns: Iterable[str] = (),
        scope: Scope | Iterable[Scope] = "subscribe",
        subscribe: Mapping[str, Iterable[str]] | None = None,
        broadcast: Mapping[str, Iterable[str]] | None = None,
        lifetime: float = 3600,
        until: datetime | None = None,
        info: Mapping[str, Any] | None = None,
        jti: str | None = None,
    ) -> str:
        """Return a token for the user ``sub`` that allows ``scope`` on ``topics``.

        patterns: beginnings of topics followed by ``*``, allowed like ``topics``.
        subscribe, broadcast: lists ``topics`` and ``patterns`` that are allowed in addition, with
        only this scope.
        lifetime: seconds for which the server accepts the token. Subscriptions outlive it.
        until: when subscriptions made with the token end, with its time zone.
        info: what other members of the topics see of the user.
        jti: a name for the token, by which it can be revoked alone.
        """
        now = time.time()
        claims: dict[str, Any] = {
            **self._origin,
            "sub": sub,
            "iat": int(now),
            "exp": int(now + lifetime),
        }
        every = _rights(
            {"topics": [topics] if isinstance(topics, str) else topics, "patterns": patterns}
        )
        own = {
            name: _rights(lists)
            for name, lists in (("subscribe", subscribe), ("broadcast", broadcast))
            if lists is not None
        }
        if not every and not any(own.values()):
            raise ValueError("there are no topics; a token names at least one topic or pattern")
        if every:
            claims["scope"] = scope if isinstance(scope, str) else " ".join(scope)
        claims |= every | own
        if until is not None:
            if until.tzinfo is None:
                raise ValueError(f"until has no time zone: {until}; use datetime.now(timezone.utc)")
            claims["until"] = until.timestamp()
        if info is not None:
            claims["info"] = dict(info)
        if jti == "":
            raise ValueError("jti is empty; use a name for the token, or None")
        if jti is not None:
            claims["jti"] = jti
        header = {"alg": self.algorithm, "typ": "JWT"}
        if self._kid is not None:
            header["kid"] = self._kid
        signed = b".".join(_base64(_json(part)) for part in (header, claims))
        token = b".".join((signed, _base64(_signature(self._key, signed)))).decode("ascii")
        if len(token) > _MAX_TOKEN:
            raise ValueError(
                f"the token has {len(token)} bytes, over the {_MAX_TOKEN} that a server takes; "
                "name fewer topics"
            )
        return token

    def token_function(self, sub: str, *, lifetime: float = 3600) -> Callable[[TokenRequest], str]:
        """Return a token function for the clients of a back end that has the private key."""

        def token(request: TokenRequest) -> str:
            topics, patterns = request.topics, request.patterns
            return self.sign(sub, topics, patterns=patterns, scope=request.scope, lifetime=lifetime)

        return token


def _rights(lists: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return the lists that are not empty."""
    for name, texts in lists.items():
        if name not in ("topics", "patterns"):
            raise ValueError(f"{name!r} is unknown; name topics, patterns, or both")
        if isinstance(texts, str):
            raise ValueError(f"{name} is the text {texts!r}; use a list of texts")
    rights = {name: list(texts) for name, texts in lists.items()}
    for pattern in rights.get("patterns", ()):
        if not pattern.endswith("*"):
            raise ValueError(
                f"the pattern {pattern!r} does not end with *; "
                "use the beginning of a topic followed by *"
            )
    return {name: texts for name, texts in rights.items() if texts}


def _json(value: object) -> bytes:
    return json.dumps(value, allow_nan=False, separators=(",", ":")).encode("ascii")


def _base64(value: bytes) -> bytes:
    return base64.urlsafe_b64encode(value).rstrip(b"=")


def _load(pem: bytes) -> PrivateKeyTypes:
    try:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise ImportError(
            'signing needs the package cryptography: pip install "notiflux[sign]"'
        ) from error
    try:
        # openssl ecparam writes the parameters of the curve before the key.
        return load_pem_private_key(_PARAMETERS.sub(b"", pem), password=None)
    except (TypeError, ValueError):  # TypeError: it is encrypted
        raise ValueError(f"not an unencrypted private key in PEM; {_HINT}") from None


_HINT = "make one with openssl ecparam -name prime256v1 -genkey -noout"


def _algorithm(key: PrivateKeyTypes) -> Algorithm:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return "ES256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "EdDSA"
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "RS256"
    raise ValueError(f"not a key for P-256, Ed25519, or RSA of 2,048 bits or more; {_HINT}")


def _signature(key: PrivateKeyTypes, signed: bytes) -> bytes:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils

    if isinstance(key, ec.EllipticCurvePrivateKey):
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return r.to_bytes(32, "big") + s.to_bytes(32, "big")  # RFC 7518, section 3.4
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
    assert isinstance(key, ed25519.Ed25519PrivateKey)
    return key.sign(signed)
