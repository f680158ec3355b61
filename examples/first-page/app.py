#!/usr/bin/env python3
"""Serve a page of notes that updates live and misses no note while it loads.

The page contains the current notes and a position in the topic. Its script
subscribes from that position. docs/guides/first-page.md explains why this works.
"""

import argparse
import html
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from urllib.parse import parse_qs

import httpx
import jwt

TOPIC = "notes"
PAGE = Template((Path(__file__).parent / "page.html").read_text("utf-8"))
MAX_FORM_BYTES = 64 << 10


class Notes:
    """The notes, in memory. It stands for a database. Safe for concurrent use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._all: list[dict] = []

    def add(self, text: str) -> dict:
        with self._lock:
            note = {"id": len(self._all) + 1, "text": text}
            self._all.append(note)
            return note

    def all(self) -> list[dict]:
        with self._lock:
            return list(self._all)


class Notiflux:
    """Calls a notiflux server and signs tokens for it."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url.rstrip("/")
        self._key = key
        self._http = httpx.Client(base_url=self.url, timeout=5)

    def token(self, scope: str, seconds: int) -> str:
        now = int(time.time())
        claims = {"sub": "first-page", "scope": scope, "topic": TOPIC, "iat": now, "exp": now + seconds}
        return jwt.encode(claims, self._key, algorithm="ES256")

    def position(self) -> str:
        """Return the current position of the topic. It reads no messages."""
        headers = {"Authorization": "Bearer " + self.token("subscribe", 60)}
        answer = self._http.get("/history", params={"topic": TOPIC, "limit": 0}, headers=headers)
        return answer.raise_for_status().json()["position"]

    def publish(self, message: object) -> str:
        """Publish to the topic and return the position of the message."""
        headers = {"Authorization": "Bearer " + self.token("broadcast", 60)}
        answer = self._http.post("/broadcast", json={"topic": TOPIC, "message": message}, headers=headers)
        return answer.raise_for_status().json()["position"]


class Handler(BaseHTTPRequestHandler):
    notes: Notes
    notiflux: Notiflux

    def do_GET(self) -> None:
        if self.path != "/":
            self.send_error(404)
            return
        try:
            since = self.notiflux.position()  # First read the position.
        except httpx.HTTPError:
            self.answer(503, "notiflux does not answer; this page reloads in 3 seconds", {"Refresh": "3"})
            return
        notes = self.notes.all()  # Then read the state. It includes every note published up to that position.
        start = {"url": self.notiflux.url, "topic": TOPIC, "since": since, "token": self.notiflux.token("subscribe", 600)}
        self.answer(200, PAGE.substitute(
            start=html.escape(json.dumps(start)),
            notes="".join(f'<li id="{note["id"]}">{html.escape(note["text"])}</li>\n' for note in notes),
        ))

    def do_POST(self) -> None:
        if self.path != "/notes":
            self.send_error(404)
            return
        length = min(int(self.headers.get("Content-Length", 0)), MAX_FORM_BYTES)
        form = parse_qs(self.rfile.read(length).decode("utf-8", "replace"))
        note = self.notes.add(form.get("text", [""])[0])  # First store the note,
        try:
            self.notiflux.publish(note)  # then publish it.
        except httpx.HTTPError:
            self.answer(502, "the note is stored but not published")
            return
        self.answer(303, "", {"Location": "/"})

    def answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")  # The page contains a token.
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--key", required=True, help="PEM file with the private key that signs tokens")
    parser.add_argument("--url", default=os.environ.get("NOTIFLUX_URL", "http://127.0.0.1:8080"),
                        help="the notiflux server (default: $NOTIFLUX_URL, else %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to serve the page on; 0 is any free one")
    arguments = parser.parse_args()

    Handler.notes = Notes()
    Handler.notiflux = Notiflux(arguments.url, Path(arguments.key).read_text("ascii"))
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
