"""Takes requests and never answers. Prints "listening", then the first line of each request.

    python swallow.py PORT
"""

import re
import socket
import sys

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
while True:
    connection, _ = listener.accept()
    with connection:
        request = b""
        while b"\r\n\r\n" not in request:
            got = connection.recv(65536)
            if not got:
                break
            request += got
        head, _, body = request.partition(b"\r\n\r\n")
        length = re.search(rb"(?i)content-length: (\d+)", head)
        while length and len(body) < int(length[1]):
            body += connection.recv(65536)
        print(head.split(b"\r\n")[0].decode(), flush=True)
