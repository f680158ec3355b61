"""Both clients against the real server: publishing and reading."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from live import Face, Server

from notiflux import AsyncClient, NotifluxError, Publication, PublishError, Signer, TokenRequest
from notiflux._core.plan import Request, Response, Scope
from notiflux._core.position import offset_of

Connect = Callable[..., Face]


def test_publish_and_history(connect: Connect, topic: str) -> None:
    client = connect()
    before = datetime.now(timezone.utc) - timedelta(seconds=1)
    values = ["hello", {"n": [1.5, None, True, "é\u2028"]}, None, 10**30]
    positions = [client.publish(topic, value) for value in values]
    history = client.history(topic)
    assert [message.data for message in history.messages] == values
    assert [message.position for message in history.messages] == positions
    assert {message.topic for message in history.messages} == {topic}
    assert before < history.messages[0].time < before + timedelta(minutes=1)
    assert (history.position, history.recovered, history.more) == (positions[-1], True, False)
    assert client.position(topic) == positions[-1]


def test_history_in_parts(connect: Connect, topic: str) -> None:
    client = connect()
    client.publish_all(Publication(topic, n) for n in range(10))
    history = client.history(topic, limit=3)
    assert [message.data for message in history.messages] == [7, 8, 9]
    since = history.messages[0].position
    history = client.history(topic, since=since, limit=1)
    assert [message.data for message in history.messages] == [8]
    assert history.more
    history = client.history(topic, since=history.position)
    assert [message.data for message in history.messages] == [9]
    assert not client.history(topic, since="another:5").recovered


def test_publish_all(connect: Connect, topic: str) -> None:
    client = connect()
    positions = client.publish_all(Publication(topic, n) for n in range(2500))
    assert sorted(positions, key=offset_of) == positions
    assert len(set(positions)) == 2500
    assert client.publish_all([]) == []


def test_publish_all_with_a_refusal(connect: Connect, topic: str, signer: Signer) -> None:
    client = connect(token=signer.sign("test", [topic], scope=["broadcast", "subscribe"]))
    with pytest.raises(PublishError) as caught:
        client.publish_all([Publication(topic, 1), Publication("other", 2), Publication(topic, 3)])
    first, second, third = caught.value.results
    assert isinstance(second, NotifluxError)
    assert (second.code, second.topic) == ("topic_denied", "other")
    assert [m.position for m in client.history(topic).messages] == [first, third]
    assert "1 of 3 messages failed" in str(caught.value)


def test_half_a_character_is_refused_alone(connect: Connect, topic: str) -> None:
    client = connect()
    with pytest.raises(PublishError) as caught:
        client.publish_all(
            [Publication(topic, 1), Publication(topic, "\ud83d"), Publication(topic, 3)]
        )
    assert isinstance(caught.value.results[1], NotifluxError)
    assert [message.data for message in client.history(topic).messages] == [1, 3]


def test_a_key_publishes_once(connect: Connect, topic: str) -> None:
    client = connect()
    first = client.publish(topic, {"a": 1}, key="k")
    assert client.publish(topic, {"a": 1}, key="k") == first
    with pytest.raises(NotifluxError) as caught:
        client.publish(topic, {"a": 2}, key="k")
    assert (caught.value.code, caught.value.status) == ("key_reused", 409)
    assert len(client.history(topic).messages) == 1


def test_presence_of_nobody(connect: Connect, topic: str) -> None:
    presence = connect().presence(topic)
    assert (presence.count, presence.subscribers, presence.members) == (0, 0, [])


@pytest.mark.parametrize("call", ["publish", "history", "presence"])
def test_refusals(connect: Connect, topic: str, signer: Signer, call: str) -> None:
    def code(token: str | None) -> str:
        client = connect(token=token)
        arguments = (topic, 1) if call == "publish" else (topic,)
        with pytest.raises(NotifluxError) as caught:
            getattr(client, call)(*arguments)
        assert caught.value.topic == topic
        return caught.value.code

    scopes: tuple[Scope, Scope] = ("broadcast", "subscribe")
    own, other = scopes if call == "publish" else scopes[::-1]
    assert code(None) == "token_missing"
    assert code("nonsense") == "token_invalid"
    assert code(signer.sign("test", topic, scope=own, lifetime=-100)) == "token_expired"
    assert code(signer.sign("test", "other", scope=own)) == "topic_denied"
    assert code(signer.sign("test", topic, scope=other)) == "scope_denied"


def test_invalid_topic(connect: Connect, signer: Signer) -> None:
    client = connect(token=signer.sign("test", "x"))
    with pytest.raises(NotifluxError) as caught:
        client.history("a\nb")
    assert (caught.value.code, caught.value.status) == ("topic_invalid", 400)


def test_a_token_that_expires_is_replaced(connect: Connect, topic: str, signer: Signer) -> None:
    asked: list[TokenRequest] = []

    def token(request: TokenRequest) -> str:
        asked.append(request)
        lifetime = -100 if len(asked) == 1 else 60
        return signer.sign("test", request.topics, scope=request.scope, lifetime=lifetime)

    client = connect(token=token)
    client.publish(topic, 1)
    client.publish(topic, 2)
    assert asked == [
        TokenRequest("broadcast", (topic,)),
        TokenRequest("broadcast", (topic,), "token_expired"),
    ]


def test_a_token_function_that_raises(connect: Connect, topic: str) -> None:
    def token(request: TokenRequest) -> str:
        raise LookupError("no session")

    with pytest.raises(NotifluxError) as caught:
        connect(token=token).publish(topic, 1)
    assert caught.value.code == "token_failed"
    assert isinstance(caught.value.__cause__, LookupError)


def test_a_token_that_no_header_can_carry(connect: Connect, topic: str) -> None:
    with pytest.raises(ValueError, match="index 6") as caught:
        connect(token="secret\r\nX: y")
    assert "secret" not in str(caught.value)
    with pytest.raises(NotifluxError) as failed:
        connect(token=lambda request: "secret\n").publish(topic, 1)
    assert failed.value.code == "token_failed"


def test_a_closed_client(connect: Connect, topic: str) -> None:
    client = connect()
    client.close_client()
    with pytest.raises(NotifluxError) as caught:
        client.publish(topic, 1)
    assert caught.value.code == "closed"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def test_no_server(connect: Connect, topic: str, closed_port: int) -> None:
    client = connect(f"http://127.0.0.1:{closed_port}", timeout=0.2)
    for call in (lambda: client.publish(topic, 1), lambda: client.history(topic)):
        with pytest.raises(NotifluxError) as caught:
            call()
        assert (caught.value.code, caught.value.retry) == ("timeout", True)


def test_a_server_that_says_nothing(connect: Connect, topic: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(NotifluxError) as caught:
            client.publish(topic, 1, timeout=0.2)
        assert caught.value.code == "outcome_unknown"
        with pytest.raises(NotifluxError) as caught:
            client.history(topic, timeout=0.2)
        assert caught.value.code == "timeout"


def answering(listener: socket.socket, answer: bytes) -> None:
    """Answer requests until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n\xff",
        b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"\x00\xff\r\n\r\n",
    ],
)
def test_garbage(connect: Connect, topic: str, answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answering, args=(listener, answer))
        thread.start()
        client = connect(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.2)
        with pytest.raises(NotifluxError, match="outcome_unknown"):
            client.publish(topic, 1)
        with pytest.raises(NotifluxError, match=r"bad_answer|timeout"):
            client.history(topic)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_cancellation_is_never_lost(
    server: Server, signer: Signer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with AsyncClient(server.url, token=signer.token_function("a")) as client:
            exchange = client._exchange

            async def cancel(request: Request) -> Response:
                response = await exchange(request)
                task.cancel()
                return response

            monkeypatch.setattr(client, "_exchange", cancel)
            task = asyncio.ensure_future(client.publish(topic, 1))
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


@pytest.mark.parametrize(
    "url",
    ["", "push.example.com", "ftp://h", "https://", "http://h?x", "http://u:p@h", "http://h:x"],
)
def test_a_bad_url(kind: type[Face], url: str) -> None:
    with pytest.raises(ValueError, match=r"use a URL like|user name"):
        kind(url)


def test_a_url_with_a_slash(connect: Connect, server: Server, topic: str) -> None:
    assert connect(server.url.replace("http", "HTTP") + "/").publish(topic, 1)


def test_neither_token_nor_password_is_printed(connect: Connect) -> None:
    client = connect(token="secret").client
    assert "secret" not in repr(client) + str(client)


def test_https(
    kind: type[Face], start: Callable[..., Server], tmp_path: Path, topic: str, signer: Signer
) -> None:
    certificate, key = make_certificate(tmp_path)
    server = start(f"--tls-cert={certificate}", f"--tls-key={key}")
    token = signer.token_function("test")
    trusting = kind(
        server.url, token=token, ssl=ssl.create_default_context(cafile=str(certificate))
    )
    try:
        assert trusting.publish(topic, 1)
    finally:
        trusting.close()
    strict = kind(server.url, token=token)
    try:
        with pytest.raises(NotifluxError) as caught:
            strict.publish(topic, 1)
        assert caught.value.code == "insecure"
    finally:
        strict.close()


def make_certificate(folder: Path) -> tuple[Path, Path]:
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return paths
