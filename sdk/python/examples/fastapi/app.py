"""Notes that are saved, published and followed, with FastAPI: uvicorn app:app."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Cookie, FastAPI, HTTPException
from fastapi.responses import PlainTextResponse
from pydantic import BaseModel

from notiflux import AsyncClient, LostError, Message, Signer, Subscribed

TOPIC = "notes"
signer = Signer(Path(os.environ["NOTIFLUX_KEY"]).read_bytes())
notes: list[dict[str, Any]] = []  # stands for a database
seen: dict[int, dict[str, Any]] = {}  # what the application has built from messages, by id


async def follow(client: AsyncClient) -> None:
    """Keep what depends on the messages up to date."""

    def load() -> None:
        seen.update((note["id"], note) for note in notes)

    events = client.subscribe(TOPIC)
    while True:
        try:
            async for event in events:
                if isinstance(event, Message):
                    seen[event.data["id"]] = event.data
                elif isinstance(event, Subscribed) and not event.resumed:
                    load()  # All messages from now on follow.
            break
        except LostError:
            load()


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Use one client for the life of the application."""
    token = signer.token_function("back end")
    async with AsyncClient(os.environ["NOTIFLUX_URL"], token=token) as client:
        app.state.notiflux = client
        following = asyncio.create_task(follow(client))
        yield
        following.cancel()


app = FastAPI(lifespan=lifespan)


class Need(BaseModel):
    """What a page needs a token for."""

    topics: list[str]


class Note(BaseModel):
    """A note."""

    text: str


@app.post("/token", response_class=PlainTextResponse)
async def token(need: Need, user: Annotated[str | None, Cookie()] = None) -> str:
    """Sign a token for a user who is logged in."""
    if user is None:
        raise HTTPException(401)
    if need.topics != [TOPIC]:
        raise HTTPException(403)
    return signer.sign(user, need.topics, lifetime=60)


@app.get("/notes")
async def read() -> dict[str, Any]:
    """Return the notes. The position is read first, so that no message is missed."""
    position = await app.state.notiflux.position(TOPIC)
    return {"position": position, "notes": notes}


@app.post("/notes", status_code=201)
async def add(note: Note) -> dict[str, Any]:
    """Save a note and publish it."""
    saved = {"id": len(notes) + 1, "text": note.text}
    notes.append(saved)
    await app.state.notiflux.publish(TOPIC, saved)
    return saved


@app.get("/seen")
async def followed() -> list[dict[str, Any]]:
    """Return what has arrived."""
    return list(seen.values())
