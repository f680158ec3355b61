"""The applications in examples/ run as their README says."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from live import DEADLINE, Server

from notiflux import Client, Message, TokenRequest

FOLDER = Path(__file__).parents[1] / "examples"
COMMANDS = {
    "fastapi": ["-m", "uvicorn", "app:app", "--port={port}"],
    "flask": ["-m", "flask", "run", "--port={port}"],
    "django": ["manage.py", "runserver", "--noreload", "127.0.0.1:{port}"],
}
FOLLOW = {"flask": ["-m", "flask", "follow"], "django": ["manage.py", "follow"]}

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def own_server(start: Callable[..., Server]) -> Iterator[Server]:
    server = start()
    yield server
    server.kill()


@pytest.fixture
def run(own_server: Server, keys: Path, tmp_path: Path) -> Iterator[Start]:
    """Return a function that starts Python in the folder of an example."""
    processes: list[subprocess.Popen[str]] = []
    source = str(Path(__file__).parents[1] / "src")
    environment = {
        **os.environ,
        "PYTHONPATH": source,
        "PYTHONDONTWRITEBYTECODE": "1",
        "NOTIFLUX_URL": own_server.url,
        "NOTIFLUX_KEY": str(keys / "es256_private.pem"),
        "DATABASE": str(tmp_path / "notes.sqlite3"),
    }

    def run(name: str, command: list[str]) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=FOLDER / name,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.terminate()
        process.communicate()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_line(process: subprocess.Popen[str], part: str) -> None:
    """Read what a process prints up to a line."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if part in line:
            return
    raise AssertionError("the program ended:\n" + "".join(lines))


def drain(process: subprocess.Popen[str]) -> None:
    """Let a process print on."""
    assert process.stdout is not None
    threading.Thread(target=process.stdout.read, daemon=True).start()


@pytest.mark.parametrize("name", COMMANDS)
def test_example(name: str, run: Start, own_server: Server) -> None:
    pytest.importorskip(name)
    if name == "django":
        migrated = run(name, ["manage.py", "migrate", "--run-syncdb"])
        assert migrated.wait(DEADLINE) == 0
    port = free_port()
    application = run(name, [part.format(port=port) for part in COMMANDS[name]])
    wait_for_line(application, str(port))
    drain(application)
    transport = httpx.HTTPTransport(retries=5)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", transport=transport) as browser:
        nobody = browser.post("/token", json={"topics": ["notes"]})
        assert nobody.status_code == 401
        browser.cookies.set("user", "ann")
        assert browser.post("/token", json={"topics": ["secrets"]}).status_code == 403

        def token(request: TokenRequest) -> str:
            answer = browser.post("/token", json={"topics": request.topics})
            return answer.raise_for_status().text

        page = browser.get("/notes").raise_for_status().json()
        assert page["notes"] == []
        with Client(own_server.url, token=token) as client:
            events = client.subscribe("notes", since=page["position"])
            for text in ("hello", "world"):
                assert browser.post("/notes", json={"text": text}).status_code == 201
            got: list[object] = []
            while len(got) < 2:
                event = events.next(DEADLINE)
                if isinstance(event, Message):
                    got.append(event.data)
        notes = [{"id": 1, "text": "hello"}, {"id": 2, "text": "world"}]
        assert got == notes
        assert browser.get("/notes").json()["notes"] == notes
        if name in FOLLOW:
            wait_for_line(run(name, FOLLOW[name]), "2 world")
        else:
            deadline = time.monotonic() + DEADLINE
            while browser.get("/seen").json() != notes:
                assert time.monotonic() < deadline
