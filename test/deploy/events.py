"""Reads an event stream as EventSource does, and prints the data of each message as a line.

    python events.py URL TOPIC

TOKEN is in the environment. When the stream ends it connects again with the last id. The
first line on standard error says that it is subscribed, a later one that messages are missing.
"""

import http.client
import json
import os
import sys
import time
import urllib.parse
import urllib.request


def lines(last):
    """Yields the lines of one response, without their ends."""
    query = urllib.parse.urlencode({"topic": sys.argv[2], "token": os.environ["TOKEN"]})
    headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
    with urllib.request.urlopen(urllib.request.Request(f"{sys.argv[1]}/events?{query}", headers=headers), timeout=60) as response:
        if response.headers["Content-Type"] != "text/event-stream":
            sys.exit(f"the response is {response.headers['Content-Type']}")
        for line in response:
            yield line.decode().rstrip("\n")


last, subscribed = "", False
while True:
    event, data, identifier = "message", "", last
    try:
        for line in lines(last):
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event = value
            elif field == "data":
                data += value
            elif field == "id":
                identifier = value
            elif line == "":
                last = identifier
                if event == "message" and data:
                    print(json.loads(data)["data"], flush=True)
                elif event == "hello":
                    recovered = json.loads(data)["topics"][sys.argv[2]]["recovered"]
                    if subscribed and not recovered:
                        sys.exit("messages are missing")
                    if not subscribed:
                        print("subscribed", file=sys.stderr, flush=True)
                    subscribed = True
                event, data = "message", ""
    except urllib.error.HTTPError as error:
        sys.exit(f"EventSource would give up: {error}")
    except (OSError, http.client.HTTPException):
        pass
    time.sleep(0.2)  # EventSource waits for seconds.
