"""Store messages in a database until they are published."""

import json
import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- part of the message's key, so an id must never be used again
    topic TEXT NOT NULL,
    message TEXT NOT NULL, -- as JSON
    refused TEXT -- why the message can never be published; NULL while it waits
)
"""


def connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    database.execute(SCHEMA)
    return database


def add(database: sqlite3.Connection, topic: str, message: object) -> None:
    """Add a message to the outbox. The relay publishes it once the current transaction is committed."""
    database.execute("INSERT INTO outbox (topic, message) VALUES (?, ?)", (topic, json.dumps(message)))
