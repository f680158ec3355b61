#!/usr/bin/env python3
"""Sign a token for notiflux: a JWT with the ES256 algorithm.

Prints the token and nothing else, so that TOKEN=$(python sign.py …) works.
"""

import argparse
import re
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
)
from cryptography.hazmat.primitives.serialization import load_pem_private_key

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def duration(text: str) -> int:
    """Convert text such as 90, 90s, 15m, 1h or 30d to seconds."""
    match = re.fullmatch(r"([1-9][0-9]*)([smhd]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a duration; use a form like 90, 15m, 1h or 30d"
        )
    return int(match[1]) * UNITS[match[2]]


def read_key(path: Path) -> EllipticCurvePrivateKey:
    """Return the private key in the file at path.

    Raises OSError if the file cannot be read, and ValueError if it does not hold
    an unencrypted P-256 private key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except (TypeError, ValueError):  # TypeError: the key is encrypted
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(
        key.curve, SECP256R1
    ):
        raise ValueError(
            "not an unencrypted P-256 private key; make one with "
            f"openssl ecparam -name prime256v1 -genkey -noout -out {path}"
        )
    return key


def sign(
    key: EllipticCurvePrivateKey,
    scopes: list[str],
    topics: list[str],
    subject: str,
    lifetime: int,
) -> str:
    """Return a token that grants scopes on topics for lifetime seconds."""
    now = int(time.time())
    claims = {
        "sub": subject,
        "scope": " ".join(scopes),
        "topics": topics,
        "iat": now,
        "exp": now + lifetime,
    }
    return jwt.encode(claims, key, algorithm="ES256")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--key",
        type=Path,
        required=True,
        metavar="PEM",
        help="file with the private key, as written by openssl",
    )
    parser.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=["subscribe", "broadcast"],
        help="what the token allows; may be repeated",
    )
    parser.add_argument(
        "--topic",
        action="append",
        required=True,
        help="a topic that the token is for; may be repeated",
    )
    parser.add_argument(
        "--sub",
        default="example",
        help="user or program that the token is for (default: %(default)s)",
    )
    parser.add_argument(
        "--exp",
        type=duration,
        default="1h",
        metavar="DURATION",
        help="how long the token is valid: seconds, or 15m, 1h, 30d (default: %(default)s)",
    )
    args = parser.parse_args()
    try:
        key = read_key(args.key)
    except OSError as err:
        print(f"sign.py: --key {args.key}: {err.strerror}", file=sys.stderr)
        return 1
    except ValueError as err:
        print(f"sign.py: --key {args.key}: {err}", file=sys.stderr)
        return 1
    print(sign(key, args.scope, args.topic, args.sub, args.exp))
    return 0


if __name__ == "__main__":
    sys.exit(main())
