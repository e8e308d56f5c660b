#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An HTTP server in a coordinator's place: slow_http.py PORT

/v1/info says that it is a coordinator; /v1/query/SECONDS answers with ten lines a second, numbered.
"""
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

INFO = b'{"nodeVersion":{"version":"476"},"environment":"lab","coordinator":true,"starting":false}'


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, length, kind="text/plain"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def do_GET(self):
        if not self.path.startswith("/v1/query/"):
            self.reply(len(INFO), "application/json")
            self.wfile.write(INFO)
            return
        lines = 10 * int(self.path.rsplit("/", 1)[1])
        self.reply(lines * 10)
        for i in range(lines):
            self.wfile.write(b"%09d\n" % i)
            self.wfile.flush()
            time.sleep(0.1)

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
