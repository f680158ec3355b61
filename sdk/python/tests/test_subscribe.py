"""Both clients against the real server: subscriptions."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from live import DEADLINE, AsyncFace, Face, Server, SyncFace, kinds
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

from notiflux import (
    AsyncClient,
    Client,
    LostError,
    Message,
    NotifluxError,
    Present,
    Publication,
    Signer,
    Subscribed,
    TokenRequest,
    _sync_link,
    _websocket,
)
from notiflux._core import link

Connect = Callable[..., Face]


@pytest.fixture
def own_server(start: Callable[..., Server]) -> Iterator[Server]:
    """Return a server for a test that ends it."""
    server = start("--shutdown-timeout=1s")
    yield server
    server.kill()


def test_messages(connect: Connect, topic: str) -> None:
    client = connect()
    loop = client.subscribe(topic)
    first = loop.next()
    assert isinstance(first, Subscribed)
    assert (first.topic, first.replay, first.resumed) == (topic, 0, False)
    values = ["hello", {"n": [1.5, None, True, "é\u2028"]}, None, 10**30]
    positions = [client.publish(topic, value) for value in values]
    for value, position in zip(values, positions, strict=True):
        event = loop.next()
        assert isinstance(event, Message)
        assert (event.topic, event.data, event.position) == (topic, value, position)
    with pytest.raises(TimeoutError):
        loop.next(0.05)
    assert loop.subscription.positions == {topic: positions[-1]}


def test_where_to_begin(connect: Connect, topic: str) -> None:
    client = connect()
    positions = [client.publish(topic, n) for n in range(5)]
    assert kinds(client.subscribe(topic, last=2), 3) == ["Subscribed", 3, 4]
    assert kinds(client.subscribe(topic, since=positions[0]), 5) == ["Subscribed", 1, 2, 3, 4]
    loop = client.subscribe(topic, since="another:7", last=2)
    with pytest.raises(LostError) as caught:
        loop.next()
    assert (caught.value.reason, caught.value.since) == ("restarted", "another:7")
    client.publish(topic, 5)
    assert kinds(loop, 1) == [5]


def test_several_topics(connect: Connect, topic: str) -> None:
    client = connect()
    names = [f"{topic}/{n}" for n in range(150)]
    since = {names[7]: client.publish(names[7], "before")}
    client.publish(names[7], "after")
    loop = client.subscribe(*names, since=since)
    got = kinds(loop, 151)
    assert sorted(map(str, got)) == ["Subscribed"] * 150 + ["after"]
    client.publish_all(Publication(name, name) for name in names)
    assert sorted(map(str, kinds(loop, 150))) == sorted(names)


def test_a_restart_of_the_server_is_a_loss(
    connect: Connect, own_server: Server, topic: str
) -> None:
    client = connect(own_server.url)
    loop = client.subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    client.publish(topic, 1)
    assert kinds(loop, 1) == [1]
    own_server.kill()
    own_server.start()
    assert kinds(loop, 2) == ["Disconnected", "restarted"]
    client.publish(topic, 2)
    assert kinds(loop, 1) == [2]


def test_a_shutdown_says_so(connect: Connect, own_server: Server, topic: str) -> None:
    loop = connect(own_server.url).subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    own_server.stop()
    event: Any = loop.next()
    assert (event.error.code, event.error.status) == ("draining", 1012)
    assert 0.5 <= event.retry_in <= 3
    own_server.start()
    with pytest.raises(LostError):
        loop.next()


def test_a_client_that_starts_before_its_server(
    connect: Connect, own_server: Server, topic: str
) -> None:
    own_server.stop()
    loop = connect(own_server.url).subscribe(topic)
    assert kinds(loop, 1) == ["Disconnected"]
    own_server.start()
    assert kinds(loop, 1) == ["Subscribed"]


def test_a_slow_loop_gets_everything(connect: Connect, topic: str) -> None:
    client = connect()
    loop = client.subscribe(topic, buffer=10)
    assert kinds(loop, 1) == ["Subscribed"]
    client.publish_all(Publication(topic, n) for n in range(3000))
    assert kinds(loop, 3000) == list(range(3000))
    client.publish(topic, "live")
    assert kinds(loop, 1) == ["live"]


def test_a_loop_that_is_too_slow_learns_of_it(
    connect: Connect, own_server: Server, topic: str
) -> None:
    client = connect(own_server.url)  # It holds 100 messages.
    loop = client.subscribe(topic, buffer=10)
    assert kinds(loop, 1) == ["Subscribed"]
    client.publish_all(Publication(topic, n) for n in range(1000))
    got = kinds(loop, 11)
    at = got.index("overflow")
    assert got[:at] == list(range(at))
    client.publish(topic, "next")
    assert "next" in [*got[at:], *kinds(loop, 1)]


def test_latest(connect: Connect, topic: str) -> None:
    client = connect()
    loop = client.subscribe(topic, mode="latest")
    assert kinds(loop, 1) == ["Subscribed"]
    client.publish_all(Publication(topic, n) for n in range(500))
    got: list[object] = []
    while 499 not in got:
        got += kinds(loop, 1)
    numbers = [n for n in got if isinstance(n, int)]
    assert numbers == sorted(numbers)


def test_presence(connect: Connect, topic: str, signer: Signer) -> None:
    info = {"name": "Ann"}
    ann = connect(token=signer.sign("ann", topic, info=info)).subscribe(topic, presence=True)
    seen: list[Any] = [ann.next()]
    while len(seen) < 3:
        seen.append(ann.next())
    present = next(event for event in seen if isinstance(event, Present))
    assert present.members is not None
    assert [(m.sub, m.info) for m in present.members] == [("ann", info)]
    bob = connect(token=signer.sign("bob", topic))
    loop = bob.subscribe(topic, presence=True)
    joined: Any = ann.next()
    assert [m.sub for m in joined.members] == ["bob"]
    assert [m.sub for m in bob.presence(topic).members] == ["ann", "bob"]
    loop.close()


@pytest.mark.parametrize("code", ["topic_denied", "scope_denied", "token_expired", "token_invalid"])
def test_a_refusal_is_the_end(connect: Connect, topic: str, signer: Signer, code: str) -> None:
    token = {
        "topic_denied": signer.sign("a", "other"),
        "scope_denied": signer.sign("a", topic, scope="broadcast"),
        "token_expired": signer.sign("a", topic, lifetime=-100),
        "token_invalid": "nonsense",
    }[code]
    loop = connect(token=token).subscribe(topic)
    with pytest.raises(NotifluxError) as caught:
        loop.next()
    assert (caught.value.code, caught.value.topic) == (code, topic)
    assert kinds(loop, 2) == [None, None]


def test_a_token_that_expires_is_replaced(connect: Connect, topic: str, signer: Signer) -> None:
    asked: list[TokenRequest] = []

    def token(request: TokenRequest) -> str:
        asked.append(request)
        return signer.sign("a", request.topics, lifetime=-100 if len(asked) == 1 else 60)

    loop = connect(token=token).subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    assert [request.refused for request in asked] == [None, "token_expired"]


def test_a_token_function_that_fails_once(connect: Connect, topic: str, signer: Signer) -> None:
    asked: list[TokenRequest] = []

    def token(request: TokenRequest) -> str:
        asked.append(request)
        if len(asked) == 1:
            raise OSError("no network")
        return signer.sign("a", request.topics)

    assert kinds(connect(token=token).subscribe(topic), 1) == ["Subscribed"]


def test_logged_out(connect: Connect, topic: str) -> None:
    assert kinds(connect(token=lambda request: None).subscribe(topic), 2) == ["logged_out", None]


def test_exclude(connect: Connect, topic: str) -> None:
    client = connect()
    loop = client.subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    connection = loop.subscription.connection
    assert connection is not None
    client.publish(topic, 1, exclude=connection)
    client.publish(topic, 2)
    assert kinds(loop, 1) == [2]


def test_close(connect: Connect, topic: str) -> None:
    client = connect()
    loop, other = client.subscribe(topic), client.subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    assert kinds(other, 1) == ["Subscribed"]
    client.publish(topic, 1)
    loop.close()
    assert kinds(loop, 2) == [None, None]
    assert kinds(other, 1) == [1]
    client.close_client()
    assert kinds(other, 1) == [None]
    with pytest.raises(NotifluxError) as caught:
        client.subscribe(topic)
    assert caught.value.code == "closed"


@pytest.mark.parametrize(
    ("topics", "options"),
    [
        ((), {}),
        (("",), {}),
        (("a" * 256,), {}),
        (("é" * 128,), {}),
        (("\ud83d",), {}),
        (("a", "b"), {"since": "E:1"}),
        (("a",), {"since": "nonsense"}),
        (("a",), {"since": {"a": ""}}),
        (("a",), {"last": -1}),
        (("a",), {"buffer": 0}),
    ],
)
def test_bad_arguments(connect: Connect, topics: tuple[str, ...], options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"use a|subscribe to|not a position"):
        connect().subscribe(*topics, **options)


def test_a_topic_that_is_no_string(connect: Connect) -> None:
    with pytest.raises(TypeError, match="a topic is a string"):
        connect().subscribe(["a", "b"])  # type: ignore[arg-type]


def test_not_our_websocket(connect: Connect, topic: str) -> None:
    def echo(socket: ServerConnection) -> None:
        for text in socket:
            socket.send(text)

    with serve(echo, "127.0.0.1", 0) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        port = other.socket.getsockname()[1]
        loop = connect(f"http://127.0.0.1:{port}").subscribe(topic)
        assert kinds(loop, 2) == ["bad_answer", None]
        other.shutdown()
        thread.join()


def test_a_redirect_gets_no_token(connect: Connect, topic: str) -> None:
    got: list[str | bytes] = []

    def listen(socket: ServerConnection) -> None:
        got.extend(socket)

    with serve(listen, "127.0.0.1", 0, subprotocols=[Subprotocol("notiflux.v1.json")]) as other:

        def redirect(socket: ServerConnection, request: Request) -> Response:
            response = socket.respond(302, "")
            response.headers["Location"] = f"ws://localhost:{other.socket.getsockname()[1]}/ws"
            return response

        with serve(listen, "127.0.0.1", 0, process_request=redirect) as first:
            threads = [threading.Thread(target=s.serve_forever) for s in (first, other)]
            for thread in threads:
                thread.start()
            loop = connect(f"http://127.0.0.1:{first.socket.getsockname()[1]}").subscribe(topic)
            assert kinds(loop, 2)[0] in ("bad_answer", "refused")
            first.shutdown()
            other.shutdown()
            for thread in threads:
                thread.join()
    assert got == []


def test_a_dead_connection(
    connect: Connect, own_server: Server, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_websocket, "PING_INTERVAL", 0.1)
    monkeypatch.setattr(_websocket, "PING_TIMEOUT", 0.5)
    loop = connect(own_server.url).subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    own_server.signal(signal.SIGSTOP)
    assert kinds(loop, 1) == ["Disconnected"]
    own_server.signal(signal.SIGCONT)
    assert kinds(loop, 1) == ["Subscribed"]


def test_a_loop_that_is_behind_waits_no_longer_than_it_wants(
    connect: Connect, own_server: Server, topic: str
) -> None:
    client = connect(own_server.url)
    loop = client.subscribe(topic, buffer=2)
    assert kinds(loop, 1) == ["Subscribed"]
    client.publish_all(Publication(topic, n) for n in range(10))
    assert kinds(loop, 2) == [0, 1]
    own_server.signal(signal.SIGSTOP)
    with pytest.raises(TimeoutError):
        loop.next(0.2)
    own_server.signal(signal.SIGCONT)
    assert kinds(loop, 8) == list(range(2, 10))


class Leave(BaseException):
    """What a program raises to end, such as SystemExit."""


def test_a_token_function_that_ends_its_thread_or_task(
    kind: type[Face], server: Server, signer: Signer, topic: str
) -> None:
    asked = 0

    def token(request: TokenRequest) -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise Leave if kind is SyncFace else asyncio.CancelledError
        return signer.sign("a", request.topics)

    client = kind(server.url, token=token)
    try:
        assert kinds(client.subscribe(topic), 1) == ["Subscribed"]
    finally:
        client.close()


def test_a_thread_that_does_not_start_ends_the_subscription(
    server: Server, signer: Signer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_sync_link, "_Connection", refuse)
    with (
        Client(server.url, token=signer.token_function("a")) as client,
        client.subscribe(topic) as events,
        pytest.raises(NotifluxError, match="failed"),
    ):
        events.next(DEADLINE)


def test_a_fault_of_the_package_ends_the_subscription(
    connect: Connect, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(link, "read", broken)
    assert kinds(connect().subscribe(topic), 2) == ["failed", None]


def test_subscribing_outside_of_a_loop(server: Server) -> None:
    client = AsyncClient(server.url)
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.subscribe("a")
    asyncio.run(client.close())


def test_a_for_loop(server: Server, signer: Signer, topic: str) -> None:
    with Client(server.url, token=signer.token_function("a")) as client:
        got: list[object] = []
        with client.subscribe(topic) as events:
            for event in events:
                if isinstance(event, Subscribed):
                    client.publish_all(Publication(topic, n) for n in range(3))
                elif isinstance(event, Message):
                    got.append(event.data)
                    if event.data == 2:
                        break
        assert got == [0, 1, 2]
        assert list(events) == []


def test_an_async_for_loop(server: Server, signer: Signer, topic: str) -> None:
    async def main() -> list[object]:
        got: list[object] = []
        async with AsyncClient(server.url, token=signer.token_function("a")) as client:
            async with client.subscribe(topic) as events:
                async for event in events:
                    if isinstance(event, Subscribed):
                        await client.publish_all(Publication(topic, n) for n in range(3))
                    elif isinstance(event, Message):
                        got.append(event.data)
                        if event.data == 2:
                            break
            assert [event async for event in events] == []
        return got

    assert asyncio.run(main()) == [0, 1, 2]


def test_an_async_token_function(server: Server, signer: Signer, topic: str) -> None:
    async def token(request: TokenRequest) -> str:
        await asyncio.sleep(0)
        return signer.sign("a", request.topics, scope=request.scope)

    async def main() -> None:
        async with AsyncClient(server.url, token=token) as client:
            await client.publish(topic, 1)
            events = client.subscribe(topic, last=1)
            assert isinstance(await anext(events), Subscribed)
            assert isinstance(await anext(events), Message)

    asyncio.run(main())


def test_cancelling_loses_no_event(server: Server, signer: Signer, topic: str) -> None:
    async def main() -> list[object]:
        got: list[object] = []
        async with AsyncClient(server.url, token=signer.token_function("a")) as client:
            events = client.subscribe(topic, buffer=5)
            await anext(events)
            await client.publish_all(Publication(topic, n) for n in range(200))
            while len(got) < 200:
                task = asyncio.ensure_future(anext(events))
                for _ in range(len(got) % 7):
                    await asyncio.sleep(0)
                task.cancel()
                try:
                    event = await task
                except asyncio.CancelledError:
                    event = await anext(events)
                assert isinstance(event, Message)
                got.append(event.data)
        return got

    assert asyncio.run(main()) == list(range(200))


def test_cancelling_all_tasks_ends_subscriptions(
    server: Server, signer: Signer, topic: str
) -> None:
    async def main() -> None:
        async with AsyncClient(server.url, token=signer.token_function("a")) as client:
            events = client.subscribe(topic)
            await anext(events)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
            with pytest.raises(NotifluxError, match="closed"):
                await anext(events)

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of Python 3.12
def test_a_fork_does_not_use_the_connections(server: Server, signer: Signer, topic: str) -> None:
    with Client(server.url, token=signer.token_function("a")) as client:
        unused = Client(server.url, token=signer.token_function("a"))
        events = client.subscribe(topic)
        events.next(DEADLINE)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                for call in (lambda: client.publish(topic, 1), events.next, client.close):
                    try:
                        call()
                    except RuntimeError:
                        os.write(write, b"refused ")
                unused.publish(topic, "of the child")
                os.write(write, b"published")
            finally:
                os._exit(0)
        os.close(write)
        os.waitpid(child, 0)
        with open(read, "rb") as said:
            assert said.read() == b"refused refused published"
        client.publish(topic, "of the parent")
        got = [events.next(DEADLINE), events.next(DEADLINE)]
        assert [getattr(e, "data", None) for e in got] == ["of the child", "of the parent"]
        unused.close()


def test_loops_in_several_threads(server: Server, signer: Signer, topic: str) -> None:
    got: dict[int, list[object]] = {n: [] for n in range(8)}
    ready = threading.Barrier(9)

    def listen(client: Client, n: int) -> None:
        with client.subscribe(topic, buffer=20) as events:
            for event in events:
                if isinstance(event, Subscribed):
                    ready.wait(DEADLINE)
                elif isinstance(event, Message):
                    got[n].append(event.data)
                    if event.data == 299:
                        return

    with Client(server.url, token=signer.token_function("a")) as client:
        threads = [threading.Thread(target=listen, args=(client, n)) for n in got]
        for thread in threads:
            thread.start()
        ready.wait(DEADLINE)
        client.publish_all(Publication(topic, n) for n in range(300))
        for thread in threads:
            thread.join(DEADLINE)
    assert all(got[n] == list(range(300)) for n in got)


@pytest.mark.parametrize("kind_of_client", [SyncFace, AsyncFace])
def test_nothing_is_left_after_close(
    kind_of_client: type[Face], server: Server, signer: Signer, topic: str
) -> None:
    before = set(threading.enumerate())
    client = kind_of_client(server.url, token=signer.token_function("a"))
    loop = client.subscribe(topic)
    assert kinds(loop, 1) == ["Subscribed"]
    client.close()
    for thread in set(threading.enumerate()) - before:
        thread.join(DEADLINE)
        assert not thread.is_alive(), thread
