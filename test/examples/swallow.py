#!/usr/bin/env python3
"""Forward requests to $NOTIFLUX_URL, but never return the responses.

A publisher that uses it never learns whether its message was published. The program
prints its own URL, then a line for each response that it withholds.
"""

import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = urllib.request.Request(os.environ["NOTIFLUX_URL"] + self.path, body, dict(self.headers))
        with urllib.request.urlopen(request) as answer:
            print(answer.status, answer.read().decode().strip(), flush=True)
        threading.Event().wait()  # Blocks until the process is killed.

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
