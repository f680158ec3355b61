#!/usr/bin/env python3
"""Publish the messages of the outbox in order, and delete each published one.

You can kill it at any moment. If it published a message but did not delete the row,
the next relay publishes it again with the same key, and the server ignores the
duplicate for two minutes. docs/guides/outbox.md explains the rest.
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

MAX_MESSAGES = 1000  # per request
MAX_BYTES = 512 << 10  # per request, approximately; the server accepts 1 MiB
TIMEOUT = 10  # seconds to wait for an answer
HOPELESS = {"malformed", "topic_invalid", "too_large", "key_reused"}  # Publishing the same message again fails again.

Row = tuple[int, str, str]


def waiting(database: sqlite3.Connection, limit: int) -> list[Row]:
    """Return the oldest waiting rows: at most limit, and no more than fit in a request."""
    rows, size = [], 0
    for row in database.execute("SELECT id, topic, message FROM outbox WHERE refused IS NULL ORDER BY id LIMIT ?", (limit,)):
        size += len(row[2].encode())
        if rows and size > MAX_BYTES:
            break
        rows.append(row)
    return rows


def publish(url: str, token: str, rows: list[Row]) -> list[dict]:
    """Publish rows and return the result of each.

    If the server refuses the whole request, it publishes none of them. The list then
    has a single result.
    """
    messages = [{"topic": topic, "message": json.loads(message), "key": f"shop-{id}"} for id, topic, message in rows]
    headers = {"Authorization": "Bearer " + token, "Content-Type": "application/json"}
    request = urllib.request.Request(url + "/broadcast", json.dumps(messages).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as e:
        if e.code == 413:  # The server or a proxy has a lower limit than ours.
            return [{"error": {"code": "too_large", "message": "the request body is too large"}}]
        if e.code == 400 and e.headers.get_content_type() == "application/problem+json":  # One invalid message fails the request.
            problem = json.load(e)
            return [{"error": {"code": problem["code"], "message": problem["detail"]}}]
        raise


def settle(database: sqlite3.Connection, rows: list[Row], answers: list[dict]) -> bool:
    """Delete published rows, mark those that can never be published, and report whether any row must wait."""
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
    """Publish the outbox until the process ends."""
    limit, failures = MAX_MESSAGES, 0
    while True:
        rows = waiting(database, limit)
        if not rows:
            time.sleep(interval)
            continue
        try:
            answers = publish(url, token, rows)
            refused = len(answers) < len(rows)  # The whole request. Send half as many, down to the row at fault.
            failed = not refused and settle(database, rows, answers)
        except (OSError, HTTPException, ValueError) as e:  # No connection, a timeout, or an incomplete answer.
            print(f"trying again: {e}", file=sys.stderr)
            refused, failed = False, True
        limit = max(1, len(rows) // 2) if refused else MAX_MESSAGES
        failures = failures + 1 if failed else 0
        if failed:
            time.sleep(random.uniform(0, min(30, 0.5 * 2 ** failures)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", default="shop.sqlite", help="SQLite file (default: %(default)s)")
    parser.add_argument("--url", default=os.environ.get("NOTIFLUX_URL", "http://127.0.0.1:8080"),
                        help="the notiflux server (default: $NOTIFLUX_URL, else %(default)s)")
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between two checks of an empty outbox (default: %(default)s)")
    arguments = parser.parse_args()
    token = os.environ.get("TOKEN")
    if not token:
        parser.error("set TOKEN to a token with the scope broadcast")
    try:
        run(outbox.connect(arguments.database), arguments.url.rstrip("/"), token, arguments.interval)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
