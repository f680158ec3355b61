"""The programs of README.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from select import select

import pytest
from live import DEADLINE, Server

from notiflux import Client, Signer

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)


def begin(text: str, server: Server, keys: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a program that has the URL of another server in it."""
    for path in keys.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    source = text.replace("http://127.0.0.1:8080", server.url)
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", source],
        cwd=folder,
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )


def run(text: str, server: Server, keys: Path, folder: Path) -> str:
    """Run a program, and return its output."""
    process = begin(text, server, keys, folder)
    output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    return output


@pytest.mark.parametrize("text", [p for p in PROGRAMS if ".publish(" in p])
def test_publish(text: str, server: Server, keys: Path, signer: Signer, tmp_path: Path) -> None:
    with Client(server.url, token=signer.token_function("test")) as client:
        since = client.position("news")
        run(text, server, keys, tmp_path)
        history = client.history("news", since=since)
        assert [message.data for message in history.messages] == [{"title": "hello"}]


def test_sign(server: Server, keys: Path, signer: Signer, tmp_path: Path) -> None:
    (program,) = (p for p in PROGRAMS if ".sign(" in p)
    token = run(program + "\nprint(token)", server, keys, tmp_path).strip()
    with Client(server.url, token=token) as client:
        client.history("chat/42")


@pytest.mark.parametrize("text", [p for p in PROGRAMS if ".subscribe(" in p])
def test_subscribe(text: str, server: Server, keys: Path, signer: Signer, tmp_path: Path) -> None:
    process = begin(text, server, keys, tmp_path)
    assert process.stdout is not None
    try:
        with Client(server.url, token=signer.token_function("test")) as client:
            while client.presence("news").subscribers == 0:
                assert process.poll() is None
            client.publish("news", "hello")
        assert process.stdout.readline() == "news hello\n"
    finally:
        process.kill()
        process.communicate()


def test_subscribe_pattern(server: Server, keys: Path, signer: Signer, tmp_path: Path) -> None:
    (text,) = (p for p in PROGRAMS if ".subscribe_pattern(" in p)
    process = begin(text, server, keys, tmp_path)
    assert process.stdout is not None
    try:
        with Client(server.url, token=signer.token_function("test")) as client:
            while not select([process.stdout], [], [], 0.05)[0]:
                assert process.poll() is None
                client.publish("room:1", "hello")
        assert process.stdout.readline() == "room:1 hello\n"
    finally:
        process.kill()
        process.communicate()


def test_there_are_programs() -> None:
    assert len(PROGRAMS) == 6
