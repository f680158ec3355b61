#!/usr/bin/env python3
"""Replay the session of docs/protocol.md against a server, and compare the output.

The session is in the code blocks of the section whose title ends with "by hand". A line
that begins with `$ ` is a command; its output follows. `> ` begins what a WebSocket
client sends, `< ` what it receives. `…` stands for any text, and in what the client
sends for $TOKEN. The documented epoch is replaced by the first one that the server sends.
"""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from websockets.sync.client import connect

URL = os.environ["NOTIFLUX_URL"]
TOKEN = os.environ["TOKEN"]
DOCUMENTED = "http://127.0.0.1:8080"
EPOCH = "522OYVQCMHTX"


def blocks(document: str) -> Iterator[list[str]]:
    """Return the lines of each console block of the session."""
    section = re.search(r"^## [^\n]* by hand\n(.*?)^## ", document, re.M | re.S)[1]
    for block in re.findall(r"^```console\n(.*?)^```", section, re.M | re.S):
        yield block.splitlines()


class Session:
    def __init__(self) -> None:
        self.epoch = EPOCH
        self.compared = 0

    def ours(self, line: str) -> str:
        return line.replace(DOCUMENTED, URL).replace(EPOCH, self.epoch)

    def compare(self, want: str, got: str) -> None:
        """Exit unless got is what the document shows."""
        if self.epoch == EPOCH and (found := re.search(r"[0-9A-Z]{12}(?=:\d)", got)):
            self.epoch = found[0]
        pattern = ".*".join(map(re.escape, self.ours(want).split("…")))
        if not re.fullmatch(pattern, got):
            sys.exit(f"want: {self.ours(want)}\ngot:  {got}".replace(TOKEN, "…"))
        self.compared += 1

    def run(self, lines: list[str]) -> None:
        """Run a block of commands."""
        while lines:
            command = self.ours(lines.pop(0).removeprefix("$ "))
            want = []
            while lines and not lines[0].startswith("$ "):
                want.append(lines.pop(0))
            done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
            got = done.stdout.rstrip("\n").split("\n")
            if len(got) != len(want):
                sys.exit(f"{command}: {len(got)} lines, want {len(want)}:\n{done.stdout}{done.stderr}".replace(TOKEN, "…"))
            for line in zip(want, got):
                self.compare(*line)

    def talk(self, lines: list[str]) -> None:
        """Run a block of a WebSocket client."""
        with connect(URL.replace("http", "ws", 1) + "/ws", subprotocols=["notiflux.v1.json"]) as websocket:
            for line in lines:
                if line.startswith("> "):
                    websocket.send(self.ours(line[2:]).replace("…", TOKEN))
                else:
                    self.compare(line.removeprefix("< "), websocket.recv(timeout=5))


def main() -> None:
    session = Session()
    for lines in blocks(Path(sys.argv[1]).read_text("utf-8")):
        if any(line.startswith("< ") for line in lines):
            session.talk([line for line in lines if line.startswith(("> ", "< "))])
        else:
            session.run(lines)
    if session.compared < 20:
        sys.exit(f"only {session.compared} lines were compared")
    print(f"{session.compared} lines are as documented")


if __name__ == "__main__":
    main()
