"""Uses the installed package: python program.py URL KEY."""

import asyncio
import sys
from pathlib import Path

from notiflux import AsyncClient, Client, Message, NotifluxError, Publication, Signer


def read(url: str, signer: Signer) -> list[Message]:
    with Client(url, token=signer.token_function("program")) as client:
        client.publish("news", {"title": "one"})
        client.publish_all([Publication("news", "two")])
        return client.history("news").messages


async def read_async(url: str, signer: Signer) -> list[Message]:
    async with AsyncClient(url, token=signer.token_function("program")) as client:
        await client.publish("news", "three")
        try:
            await client.publish("", "nothing")
        except NotifluxError as error:
            print(error)
        return (await client.history("news")).messages


def main(url: str, key: str) -> None:
    signer = Signer(Path(key).read_bytes())
    assert [m.data for m in read(url, signer)] == [{"title": "one"}, "two"]
    assert [m.data for m in asyncio.run(read_async(url, signer))][2:] == ["three"]


main(sys.argv[1], sys.argv[2])
