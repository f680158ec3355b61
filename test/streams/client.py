"""Reads a stream as a script would, reconnects when it breaks off, and prints the
object of each event or line:

    python client.py sseclient URL    requests and sseclient-py read /events
    python client.py requests URL     requests reads the lines of /stream
    python client.py httpx URL        httpx reads the lines of /stream
"""

import json
import sys
import time
from collections.abc import Iterator

import httpx
import requests
import sseclient

RETRY = 0.5  # seconds


def by_sseclient(url: str, last: str) -> Iterator[tuple[str, str]]:
    headers = {"Accept": "text/event-stream"}
    if last:
        headers["Last-Event-ID"] = last
    with requests.get(url, headers=headers, stream=True, timeout=60) as answer:
        answer.raise_for_status()
        for event in sseclient.SSEClient(answer).events():
            yield event.id or "", event.data


def since(url: str, last: str) -> str:
    url = url.replace("/events?", "/stream?")
    return f"{url}&since={last}" if last else url


def by_requests(url: str, last: str) -> Iterator[tuple[str, str]]:
    with requests.get(since(url, last), stream=True, timeout=60) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines(chunk_size=None):
            yield json.loads(line).get("cursor", ""), line.decode()


def by_httpx(url: str, last: str) -> Iterator[tuple[str, str]]:
    with httpx.stream("GET", since(url, last), timeout=60) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            yield json.loads(line).get("cursor", ""), line


def main() -> None:
    library, url = sys.argv[1:]
    read = {"sseclient": by_sseclient, "requests": by_requests, "httpx": by_httpx}[library]
    last = ""
    while True:
        try:
            for cursor, data in read(url, last):
                last = cursor or last
                print(data, flush=True)
        except (requests.RequestException, httpx.HTTPError, json.JSONDecodeError) as error:
            # JSON breaks off with the connection. The text of an error has the address.
            print(f"{library}: {type(error).__name__}", file=sys.stderr)
        time.sleep(RETRY)


if __name__ == "__main__":
    main()
