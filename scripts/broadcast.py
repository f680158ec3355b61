#!/usr/bin/env python3
"""Publish one message to a topic of a notiflux server."""

import argparse
import os
import sys

import httpx

DEFAULT_URL = "http://127.0.0.1:8080"

# A server that shuts down may take 25 s to answer; after that, no answer comes.
TIMEOUT_S = 30.0


class Refused(Exception):
    """The server refused the message. The text says why."""


def broadcast(url: str, token: str, topic: str, message: str) -> str:
    """Publish message to topic and return its position.

    Raises Refused if the server refuses the message, httpx.HTTPError if the
    request fails, and httpx.InvalidURL if url is not a URL.
    """
    response = httpx.post(
        url.rstrip("/") + "/broadcast",
        json={"topic": topic, "message": message},
        headers={"Authorization": f"Bearer {token}"},
        timeout=TIMEOUT_S,
    )
    if response.headers.get("Content-Type") == "application/problem+json":
        problem = response.json()
        raise Refused(f"{problem['code']}: {problem['detail']}")
    response.raise_for_status()
    position: str = response.json()["position"]
    return position


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("topic", metavar="TOPIC")
    parser.add_argument("message", metavar="MESSAGE")
    parser.add_argument(
        "--token",
        default=os.environ.get("NOTIFLUX_TOKEN"),
        help="token with the scope broadcast (default: $NOTIFLUX_TOKEN)",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("NOTIFLUX_URL", DEFAULT_URL),
        help=f"address of the server (default: $NOTIFLUX_URL, else {DEFAULT_URL})",
    )
    args = parser.parse_args()
    if not args.token:
        parser.error("a token is needed: give --token or set NOTIFLUX_TOKEN")
    try:
        print(broadcast(args.url, args.token, args.topic, args.message))
    except Refused as err:
        print(f"broadcast.py: {err}", file=sys.stderr)
        return 1
    except (httpx.HTTPError, httpx.InvalidURL) as err:
        print(f"broadcast.py: {args.url}: {err}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
