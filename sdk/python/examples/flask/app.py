"""Notes that are saved, published and followed, with Flask: flask run, and flask follow."""

import functools
import os
from pathlib import Path
from typing import Any

from flask import Flask, abort, request
from flask.typing import ResponseReturnValue

from notiflux import Client, LostError, Message, Signer

TOPIC = "notes"
app = Flask(__name__)
signer = Signer(Path(os.environ["NOTIFLUX_KEY"]).read_bytes())
notes: list[dict[str, Any]] = []  # stands for a database


@functools.cache
def notiflux() -> Client:
    """Return the client of this process. It is made when it is needed, so after a fork."""
    return Client(os.environ["NOTIFLUX_URL"], token=signer.token_function("back end"))


@app.post("/token")
def token() -> ResponseReturnValue:
    """Sign a token for a user who is logged in."""
    user = request.cookies.get("user")
    if user is None:
        abort(401)
    if request.get_json()["topics"] != [TOPIC]:
        abort(403)
    return signer.sign(user, TOPIC, lifetime=60), {"Content-Type": "text/plain"}


@app.get("/notes")
def read() -> ResponseReturnValue:
    """Return the notes. The position is read first, so that no message is missed."""
    position = notiflux().position(TOPIC)
    return {"position": position, "notes": notes}


@app.post("/notes")
def add() -> ResponseReturnValue:
    """Save a note and publish it."""
    saved = {"id": len(notes) + 1, "text": request.get_json()["text"]}
    notes.append(saved)
    notiflux().publish(TOPIC, saved)
    return saved, 201


@app.cli.command("follow")
def follow() -> None:
    """Print the notes as they come."""
    with notiflux().subscribe(TOPIC, last=100) as events:
        while True:
            try:
                for event in events:
                    if isinstance(event, Message):
                        print(event.data["id"], event.data["text"], flush=True)
                break
            except LostError as lost:
                print("notes are missing:", lost.reason, flush=True)
