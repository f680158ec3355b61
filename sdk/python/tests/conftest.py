"""What the tests share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from live import AsyncFace, Face, Server, SyncFace, binary, make_keys

from notiflux import Signer


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return binary(tmp_path_factory.mktemp("program"))


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def signer(program: Path, keys: Path) -> Signer:
    return make_keys(program, keys)


@pytest.fixture(scope="session")
def start(program: Path, keys: Path, signer: Signer) -> Iterator[Callable[..., Server]]:
    """Return a function that starts a server with flags."""
    servers: list[Server] = []

    def start(*flags: str) -> Server:
        servers.append(Server(program, keys, *flags))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
        assert not any("eyJ" in line for line in server.log), "a token in the log"


@pytest.fixture(scope="session")
def server(start: Callable[..., Server]) -> Server:
    """Return a server that all tests share."""
    return start("--history-messages=100000", "--history-bytes=100MiB")


@pytest.fixture
def topic() -> str:
    """Return a topic that no other test uses."""
    return f"test/é {uuid.uuid4()}"


@pytest.fixture(params=[SyncFace, AsyncFace], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> type[Face]:
    """Return each of the two clients in turn."""
    found: type[Face] = request.param
    return found


@pytest.fixture
def connect(kind: type[Face], server: Server, signer: Signer) -> Iterator[Callable[..., Face]]:
    """Return a function that makes a client, by default one that may do everything."""
    faces: list[Face] = []

    def connect(url: str | None = None, **options: Any) -> Face:
        options.setdefault("token", signer.token_function("test"))
        faces.append(kind(url or server.url, **options))
        return faces[-1]

    yield connect
    for face in faces:
        face.close()
