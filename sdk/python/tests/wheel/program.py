"""Uses the installed package: python program.py URL KEY."""

import asyncio
import sys
from pathlib import Path

from notiflux import AsyncClient, Client, Message, NotifluxError, Publication, Signer


def read(url: str, signer: Signer) -> list[Message]:
    with Client(url, token=signer.token_function("program")) as client:
        client.publish("news", {"title": "one"})
        client.publish_all([Publication("news", "two")])
        messages: list[Message] = []
        with client.subscribe("news", last=2) as events:
            while len(messages) < 2:
                event = events.next(timeout=30)
                if isinstance(event, Message):
                    messages.append(event)
        return messages


async def read_async(url: str, signer: Signer) -> list[Message]:
    async with AsyncClient(url, token=signer.token_function("program")) as client:
        await client.publish("news", "three")
        try:
            await client.publish("", "nothing")
        except NotifluxError as error:
            print(error)
        messages: list[Message] = []
        async with client.subscribe("news", last=3) as events:
            async for event in events:
                if isinstance(event, Message):
                    messages.append(event)
                    if len(messages) == 3:
                        break
        return messages


def main(url: str, key: str) -> None:
    signer = Signer(Path(key).read_bytes())
    assert [m.data for m in read(url, signer)] == [{"title": "one"}, "two"]
    assert [m.data for m in asyncio.run(read_async(url, signer))][2:] == ["three"]


main(sys.argv[1], sys.argv[2])
