#!/usr/bin/env python3
"""Print the messages of one or more topics of a notiflux server, one per line.

It speaks the text protocol: each command is one WebSocket message, and each
message that arrives is exactly the published string.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import connect

DEFAULT_URL = "http://127.0.0.1:8080"
MAX_MESSAGE_BYTES = 8 << 20  # the largest limit that a server can be configured with


class Denied(Exception):
    """The server refused a subscription. The text is its answer."""


def websocket_url(base: str) -> str:
    """Return the address of the WebSocket endpoint of the server at base."""
    url = urlsplit(base)
    scheme = {"http": "ws", "https": "wss"}.get(url.scheme, url.scheme)
    return urlunsplit((scheme, url.netloc, url.path.rstrip("/") + "/ws", "", ""))


def messages(url: str, token: str, topics: list[str]) -> Iterator[str]:
    """Subscribe to topics and yield their messages until the connection ends.

    In the text protocol a refusal is a text message too. So a published message
    that looks like the refusal of one of topics is mistaken for one.

    Raises Denied, or an exception of websockets: ConnectionClosed even if the
    server closes the connection properly.
    """
    refusals = tuple(f"Subscribe to {topic} denied: " for topic in topics)
    with connect(websocket_url(url), max_size=MAX_MESSAGE_BYTES) as websocket:
        for topic in topics:
            websocket.send(f"/subscribe {topic} {token}")
        while True:
            message = websocket.recv(decode=True)
            if message.startswith(refusals):
                raise Denied(message)
            yield message


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("topics", metavar="TOPIC", nargs="+")
    parser.add_argument(
        "--token",
        default=os.environ.get("NOTIFLUX_TOKEN"),
        help="token with the scope subscribe (default: $NOTIFLUX_TOKEN)",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("NOTIFLUX_URL", DEFAULT_URL),
        help=f"address of the server (default: $NOTIFLUX_URL, else {DEFAULT_URL})",
    )
    args = parser.parse_args()
    if not args.token:
        parser.error("a token is needed: give --token or set NOTIFLUX_TOKEN")
    for topic in args.topics:
        if " " in topic:
            parser.error(
                f"{topic!r}: the text protocol cannot subscribe to a topic with a space"
            )
    try:
        for message in messages(args.url, args.token, args.topics):
            print(message, flush=True)
    except Denied as err:
        print(f"subscribe.py: {err}", file=sys.stderr)
    except ConnectionClosed as err:
        print(f"subscribe.py: the connection ended: {err}", file=sys.stderr)
    except (InvalidURI, InvalidHandshake, OSError, ValueError) as err:
        print(f"subscribe.py: {args.url}: {err}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(0)
