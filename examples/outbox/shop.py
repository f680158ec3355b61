#!/usr/bin/env python3
"""Store orders. Each is published once its transaction is committed.

It stands for the request handlers of a web application. docs/guides/outbox.md
explains the pattern.
"""

import argparse
import sqlite3

import outbox

SCHEMA = "CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, what TEXT NOT NULL CHECK (what <> ''))"
TOPIC = "orders"


def order(database: sqlite3.Connection, what: str) -> int:
    """Store an order and return its number."""
    with database:  # One transaction: both rows or neither.
        number = database.execute("INSERT INTO orders (what) VALUES (?)", (what,)).lastrowid
        outbox.add(database, TOPIC, {"order": number, "what": what})
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--database", default="shop.sqlite", help="SQLite file (default: %(default)s)")
    parser.add_argument("what", nargs="+", help="an item to order; each argument is an order")
    arguments = parser.parse_args()

    database = outbox.connect(arguments.database)
    database.execute(SCHEMA)
    for what in arguments.what:
        print(f"order {order(database, what)}: {what}")


if __name__ == "__main__":
    main()
