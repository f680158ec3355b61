"""Keep messages in a database until they are published."""

import json
import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT, -- it makes the key, so it must not be given again when the row is gone
    topic TEXT NOT NULL,
    message TEXT NOT NULL, -- as JSON
    refused TEXT -- why it can never be published; NULL: it waits
)
"""


def connect(path: str) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=10)
    database.execute(SCHEMA)
    return database


def add(database: sqlite3.Connection, topic: str, message: object) -> None:
    """Have a message published, if the transaction under way is committed."""
    database.execute("INSERT INTO outbox (topic, message) VALUES (?, ?)", (topic, json.dumps(message)))
