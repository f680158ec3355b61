"""The programs of README.md run as they stand there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from live import DEADLINE, Server

from notiflux import Client, Signer

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", README, re.S | re.M)


def run(program: str, server: Server, keys: Path, folder: Path) -> str:
    """Run a program that has the URL of another server in it, and return its output."""
    for path in keys.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    source = program.replace("http://127.0.0.1:8080", server.url)
    command = [sys.executable, "-W", "error", "-c", source]
    environment = {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    return subprocess.run(
        command,
        cwd=folder,
        env=environment,
        check=True,
        timeout=DEADLINE,
        capture_output=True,
        text=True,
    ).stdout


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


def test_there_are_programs() -> None:
    assert len(PROGRAMS) >= 3
