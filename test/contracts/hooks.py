"""What schemathesis cannot know of the server."""

import re

import requests
import schemathesis

# Refusals of requests that are right by the schemas, and why these do not say it.
BEYOND_SCHEMAS = {
    r".*: the cursor is malformed: .*": "a cursor is opaque",
    r"`[\w-]+` is a position, which applies to one topic: .*": "a schema does not relate two parameters",
    r"`topic` or `pattern` is missing": "a schema does not relate two parameters",
    r"the request has both `topic` and `pattern`: .*": "a schema does not relate two parameters",
    r"`last` and the mode latest are only for topics: .*": "a schema does not relate two parameters",
    r"Idempotency-Key does not apply to an array: .*": "a schema does not relate a header and the body",
    r"Idempotency-Key and `key` differ: .*": "a schema does not relate a header and the body",
    r"`(last|wait|limit)` must be a whole number, 0 or more": "to a schema, 1 and 1.0 are the same number",
    r"(before the \* of the pattern, )?the topic has \d+ bytes; the limit is 255": "a schema counts characters",
}


@schemathesis.hook
def filter_failure(context, failure, case, response):
    if failure.title != "Schema-valid request rejected" or response.status_code != 400:
        return True
    detail = response.json()["detail"]
    return not any(re.fullmatch(pattern, detail) for pattern in BEYOND_SCHEMAS)


send = requests.Session.send


def send_and_hang_up(self, request, **kwargs):
    """Takes the first line of a stream of lines, and nothing of a WebSocket."""
    response = send(self, request, **kwargs)
    if response.status_code == 101:
        response._content = b""
        response.close()
    elif response.headers.get("Content-Type") == "application/x-ndjson" and request.method != "HEAD":
        response._content = response.raw.readline()
        response.close()
    return response


requests.Session.send = send_and_hang_up
