"""The Python client websockets against a running server, with and without
compression:

    python client.py echo URL      the echo program
    python client.py server URL    notiflux; TOKEN is for the topic "clients", both scopes

COMPRESSION=1 says that the server agrees on compression.
"""

import json
import os
import sys
import urllib.request

from websockets.exceptions import ConnectionClosed
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.sync.client import ClientConnection, connect

SERVED = os.environ.get("COMPRESSION") == "1"
MOST = 16 * 1024 * 1024
LONG = "0123456789 κόσμε " * 2000


def dial(url: str, compress: bool, *protocols: str) -> ClientConnection:
    """Connect; the caller has it as a context manager."""
    return connect(
        url.replace("http", "ws", 1),
        compression="deflate" if compress else None,
        max_size=None,
        subprotocols=protocols or None,
    )


def check_agreement(client: ClientConnection, compress: bool) -> None:
    assert bool(client.protocol.extensions) == (compress and SERVED)


def close_code(client: ClientConnection) -> int:
    """Wait until the server has closed."""
    try:
        message = client.recv(timeout=30)
    except ConnectionClosed as end:
        return end.rcvd.code if end.rcvd else 1006
    raise AssertionError(f"got {message[:100]!r}, want a close")


def echo_messages(url: str, compress: bool) -> None:
    with dial(url, compress) as client:
        check_agreement(client, compress)
        for size in (0, 1, 125, 126, 65535, 65536, MOST):
            data = (b"notiflux" * (size // 8 + 1))[:size]
            client.send(data)
            assert client.recv(timeout=30) == data, size
        for text in ("", "hello", "\0", LONG):
            client.send(text)
            assert client.recv(timeout=30) == text
        assert client.ping("ping").wait(30)


def echo_fragments(url: str, compress: bool) -> None:
    with dial(url, compress) as client:
        data = LONG.encode()
        client.send((data[i : i + 997] for i in range(0, len(data), 997)), text=True)
        assert client.recv(timeout=30) == LONG
        client.send([b"\xff", b"", b"\xfe"])
        assert client.recv(timeout=30) == b"\xff\xfe"


def echo_ends(url: str, compress: bool) -> None:
    for code in (1000, 1001, 3000, 4999):
        with dial(url, compress) as client:
            client.close(code, "reason")
            assert client.close_code == code, client.close_code
    for code, data in ((1007, b"a\xff"), (1007, b"\xe2\x82"), (1009, bytes(MOST + 1))):
        with dial(url, compress) as client:
            client.send(data, text=code == 1007)
            assert (got := close_code(client)) == code, got


def broadcast(url: str, message: object) -> str:
    """Publish; return the position."""
    body = json.dumps({"topic": "clients", "message": message}).encode()
    headers = {"Authorization": f"Bearer {os.environ['TOKEN']}", "Content-Type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(f"{url}/broadcast", body, headers), timeout=30) as answer:
        assert answer.status == 200
        return json.load(answer)["position"]


def text_protocol(url: str, compress: bool) -> None:
    with dial(f"{url}/ws", compress) as client:
        check_agreement(client, compress)
        command = f"/subscribe clients {os.environ['TOKEN']}"
        client.send([command[:20], command[20:]])
        client.send(b"\0\1\2")
        client.send("chatter")
        client.send("/")
        assert client.recv(timeout=30) == "Unknown command"
        for message in ("short", LONG, "", "κόσμε"):
            broadcast(url, message)
            assert client.recv(timeout=30) == message
        broadcast(url, {"z": [1, 2.5], "a": LONG})
        assert json.loads(client.recv(timeout=30)) == {"z": [1, 2.5], "a": LONG}
        assert client.ping().wait(30)
    assert client.close_code == 1000


def json_protocol(url: str, compress: bool) -> None:
    def expect(client: ClientConnection, **want: object) -> dict:
        got = json.loads(client.recv(timeout=30))
        assert {name: got.get(name) for name in want} == want, got
        return got

    def say(client: ClientConnection, **command: object) -> None:
        client.send(json.dumps(command))

    def subscribe(client: ClientConnection, **more: object) -> dict:
        check_agreement(client, compress)
        assert client.subprotocol == "notiflux.v1.json"
        expect(client, type="welcome")
        say(client, type="subscribe", id=1, topics=["clients"], token=os.environ["TOKEN"], **more)
        return expect(client, type="subscribed", id=1)["topics"]["clients"]

    with dial(f"{url}/ws", compress, "notiflux.v1.json") as client:
        subscribed = subscribe(client)
        assert subscribed["recovered"] and subscribed["replay"] == 0
        for message in ("short", LONG, "", None, {"z": [1, 2.5], "a": LONG}):
            position = broadcast(url, message)
            expect(client, type="message", topic="clients", position=position, data=message)
    missed = [broadcast(url, message) for message in ("one", "two")]
    with dial(f"{url}/ws", compress, "notiflux.v1.json") as client:
        resumed = subscribe(client, since={"clients": position})
        assert resumed == {"position": position, "recovered": True, "replay": 2}
        expect(client, type="message", position=missed[0], data="one")
        expect(client, type="message", position=missed[1], data="two")
        say(client, type="unsubscribe", id=2, topics=["clients"])
        expect(client, type="unsubscribed", id=2, topics=["clients"])
        broadcast(url, "nobody is there")
        say(client, type="ping", id=3)
        expect(client, type="pong", id=3)
        client.send(b"\0\1\2")
        assert (got := close_code(client)) == 1003, got


def small_window(url: str) -> None:
    """A window that the server does not have is declined."""
    offer = ClientPerMessageDeflateFactory(server_max_window_bits=12)
    with connect(url.replace("http", "ws", 1), compression=None, extensions=[offer]) as client:
        assert not client.protocol.extensions
        client.send(LONG)
        assert client.recv(timeout=30) == LONG


def main() -> None:
    mode, url = sys.argv[1:]
    tests = {"echo": [echo_messages, echo_fragments, echo_ends], "server": [text_protocol, json_protocol]}[mode]
    for test in tests:
        for compress in (False, True):
            test(url, compress)
    if mode == "echo":
        small_window(url)


if __name__ == "__main__":
    main()
