#!/usr/bin/env python3
"""Pass requests to $NOTIFLUX_URL, and keep the answers.

Whoever publishes through it is left between publishing and knowing. It prints its
own URL, then a line for each answer that it kept.
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
        threading.Event().wait()  # For ever: the process is killed.

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
