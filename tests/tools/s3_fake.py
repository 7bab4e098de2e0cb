#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A store for tests: the part of S3 that lethefs uses, in memory, on loopback, believing every signature.

    s3_fake.py PORT-FILE [--delay SECONDS]

It writes the port that it was given to PORT-FILE. The delay is added to every answer, as a distant store would.
POST /-/MODE changes how it behaves: stall (connections are taken and requests read, and nothing is ever answered),
refuse (503), normal. GET /-/counts gives the number of requests of each method since the start, as JSON.
"""
import argparse
import base64
import hashlib
import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

objects = {}
lock = threading.Lock()
counts = {}
mode = "normal"
changed = threading.Condition()
delay = 0.0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *arguments):
        pass

    def answer(self, status, body=b"", headers=()):
        if delay:
            time.sleep(delay)
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()

    def fail(self, status, code):
        self.answer(status, f"<Error><Code>{code}</Code></Error>".encode(), [("Content-Type", "application/xml")])

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def begin(self):
        """The key, or None when the request has been dealt with."""
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/-/"):
            self.control(path[3:])
            return None
        self.bytes = self.body() if self.command in ("PUT", "POST") else b""
        with lock:
            counts[self.command] = counts.get(self.command, 0) + 1
        with changed:
            while mode == "stall":
                changed.wait()
        if mode == "refuse":
            self.fail(503, "ServiceUnavailable")
            return None
        return path.lstrip("/").partition("/")[2]

    def control(self, word):
        global mode
        if word == "counts":
            with lock:
                text = json.dumps(counts).encode()
        else:
            self.body()
            with changed:
                mode = word
                changed.notify_all()
            text = b"ok\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self):
        if self.begin() is not None:
            self.fail(405, "MethodNotAllowed")

    def do_PUT(self):
        key = self.begin()
        if key is None:
            return
        etag = '"' + hashlib.md5(self.bytes).hexdigest() + '"'
        given = self.headers.get("Content-MD5")
        if given and base64.b64decode(given) != hashlib.md5(self.bytes).digest():
            self.fail(400, "BadDigest")
            return
        with lock:
            there = objects.get(key)
            want = self.headers.get("If-Match")
            taken = self.headers.get("If-None-Match") == "*" and there is not None
            other = want is not None and (there is None or want.strip('"') != there[1].strip('"'))
            if not taken and not other:
                objects[key] = (self.bytes, etag, time.time())
        if taken or other:
            self.fail(412, "PreconditionFailed")
        else:
            self.answer(200, b"", [("ETag", etag)])

    def do_GET(self):
        key = self.begin()
        if key is None:
            return
        query = parse_qs(urlsplit(self.path).query, keep_blank_values=True)
        if key == "":
            self.list(query.get("prefix", [""])[0], query.get("continuation-token", [""])[0])
            return
        with lock:
            there = objects.get(key)
        if there is None:
            self.fail(404, "NoSuchKey")
            return
        data, status = there[0], 200
        headers = [("ETag", there[1])]
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if span:
            first = int(span[1])
            last = min(int(span[2]) if span[2] else len(data) - 1, len(data) - 1)
            if first >= len(data):
                self.fail(416, "InvalidRange")
                return
            headers.append(("Content-Range", f"bytes {first}-{last}/{len(data)}"))
            data, status = data[first : last + 1], 206
        headers.append(("Last-Modified", self.date_time_string(there[2])))
        headers.append(("Content-Length", str(len(data))))
        self.answer(status, data, headers)

    do_HEAD = do_GET

    def do_DELETE(self):
        key = self.begin()
        if key is not None:
            with lock:
                objects.pop(key, None)
            self.answer(204)

    def list(self, prefix, after):
        with lock:
            keys = sorted(key for key in objects if key.startswith(prefix) and key > after)
            rows = [(key, len(objects[key][0]), objects[key][1], objects[key][2]) for key in keys[:1000]]
        text = "<ListBucketResult><IsTruncated>" + ("true" if len(keys) > 1000 else "false") + "</IsTruncated>"
        if len(keys) > 1000:
            text += f"<NextContinuationToken>{escape(rows[-1][0])}</NextContinuationToken>"
        for key, size, etag, at in rows:
            when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at))
            text += (
                f"<Contents><Key>{escape(key)}</Key><LastModified>{when}</LastModified>"
                f"<ETag>{escape(etag)}</ETag><Size>{size}</Size></Contents>"
            )
        self.answer(200, (text + "</ListBucketResult>").encode(), [("Content-Type", "application/xml")])


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    global delay
    parser = argparse.ArgumentParser()
    parser.add_argument("port_file")
    parser.add_argument("--delay", type=float, default=0.0)
    arguments = parser.parse_args()
    delay = arguments.delay
    server = Server(("127.0.0.1", 0), Handler)
    with open(arguments.port_file, "w") as out:
        out.write(str(server.server_address[1]))
    server.serve_forever()


main()
