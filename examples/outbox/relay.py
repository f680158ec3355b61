#!/usr/bin/env python3
"""Publish what is in the outbox, in order, and delete what was taken.

It may be killed at any moment: what it published and did not delete is published
again with the same key, which changes nothing. docs/guides/outbox.md explains it.
"""

import argparse
import json
import os
import random
import sqlite3
import sys
import time
import urllib.error
import urllib.request
from http.client import HTTPException

import outbox

MAX_MESSAGES = 1000  # of a request
MAX_BYTES = 512 << 10  # of a request, about; the server takes 1 MiB
TIMEOUT = 10  # seconds, for an answer
HOPELESS = {"malformed", "topic_invalid", "too_large", "key_reused"}  # The same again has the same answer.

Row = tuple[int, str, str]


def waiting(database: sqlite3.Connection, most: int) -> list[Row]:
    """Return the first rows that wait, up to most, as many as fit a request."""
    rows, size = [], 0
    for row in database.execute("SELECT id, topic, message FROM outbox WHERE refused IS NULL ORDER BY id LIMIT ?", (most,)):
        size += len(row[2].encode())
        if rows and size > MAX_BYTES:
            break
        rows.append(row)
    return rows


def publish(url: str, token: str, rows: list[Row]) -> list[dict]:
    """Publish rows and return what became of each; a single answer: of all together, and none is published."""
    messages = [{"topic": topic, "message": json.loads(message), "key": f"shop-{id}"} for id, topic, message in rows]
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(url + "/broadcast", json.dumps(messages).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        if e.code == 413:  # The server, or a proxy, takes less than we think.
            return [{"error": {"code": "too_large", "message": "the body"}}]
        if e.code == 400 and e.headers.get_content_type() == "application/problem+json":  # One row spoils it.
            problem = json.load(e)
            return [{"error": {"code": problem["code"], "message": problem["detail"]}}]
        raise


def settle(database: sqlite3.Connection, rows: list[Row], answers: list[dict]) -> bool:
    """Delete what was published, put aside what never will be, and return whether the rest is to wait."""
    wait = False
    with database:
        for (id, _, _), answer in zip(rows, answers):
            error = answer.get("error")
            if error is None:
                database.execute("DELETE FROM outbox WHERE id = ?", (id,))
            elif error["code"] in HOPELESS:
                print(f"row {id} is refused: {error['message']}", file=sys.stderr)
                database.execute("UPDATE outbox SET refused = ? WHERE id = ?", (error["code"], id))
            else:
                print(f"row {id} waits: {error['message']}", file=sys.stderr)
                wait = True
    return wait


def run(database: sqlite3.Connection, url: str, token: str, interval: float) -> None:
    """Publish for ever."""
    most, failures = MAX_MESSAGES, 0
    while True:
        rows = waiting(database, most)
        if not rows:
            time.sleep(interval)
            continue
        try:
            answers = publish(url, token, rows)
            refused = len(answers) < len(rows)  # All together. Half of them may do, and at last one is to blame.
            failed = not refused and settle(database, rows, answers)
        except (OSError, HTTPException, ValueError) as e:  # No connection, no answer in time, or half of one.
            print(f"trying again: {e}", file=sys.stderr)
            refused, failed = False, True
        most = max(1, len(rows) // 2) if refused else MAX_MESSAGES
        failures = failures + 1 if failed else 0
        if failed:
            time.sleep(random.uniform(0, min(30, 0.5 * 2 ** failures)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", default="shop.sqlite", help="SQLite file (default: %(default)s)")
    parser.add_argument("--url", default=os.environ.get("NOTIFLUX_URL", "http://127.0.0.1:8080"),
                        help="the notiflux server (default: $NOTIFLUX_URL, else %(default)s)")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between two looks at an empty outbox")
    arguments = parser.parse_args()
    token = os.environ.get("TOKEN")
    if not token:
        parser.error("$TOKEN is not set: it should hold a token with the scope broadcast")
    try:
        run(outbox.connect(arguments.database), arguments.url.rstrip("/"), token, arguments.interval)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
