# SPDX-License-Identifier: MIT
"""An HTTP proxy in front of an S3 server that does to requests what networks and servers do, at random from a seed.

usage: proxy.py SERVER_PORT RATE SEED PORT_FILE

Listens on a free port of loopback, which it writes to PORT_FILE. Requests go on byte for byte, so that signatures
stay valid. On SIGTERM it ends and prints how often it did what.
"""
import collections
import os
import random
import re
import signal
import socket
import struct
import sys
import threading
import time

SERVER, RATE, SEED, PORT_FILE = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
FAULTS = ["reset before", "reset after", "stall", "500 before", "500 after", "503", "503 retry-after", "truncated",
          "length too long", "length too short", "duplicated", "delayed"]
LATE = 1.5  # seconds after which a delayed PUT arrives, should no retry of it have been seen

dice, lock, counts = random.Random(SEED), threading.Lock(), collections.Counter()
delayed = []  # [request line, when due, bytes]


class Gone(Exception):
    """The other side closed."""


class Line:
    """A connection, read piece by piece."""

    def __init__(self, sock):
        self.sock, self.rest = sock, b""

    def more(self):
        got = self.sock.recv(1 << 18)
        if not got:
            raise Gone
        self.rest += got

    def until(self, mark):
        while mark not in self.rest:
            self.more()
        at = self.rest.index(mark) + len(mark)
        out, self.rest = self.rest[:at], self.rest[at:]
        return out

    def exactly(self, size):
        parts, have = [self.rest[:size]], min(len(self.rest), size)
        self.rest = self.rest[size:]
        while have < size:
            self.more()
            parts.append(self.rest[:size - have])
            have += len(parts[-1])
            self.rest = self.rest[len(parts[-1]):]
        return b"".join(parts)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def header(head, name):
    found = re.search(rb"\r\n" + name + rb": *([^\r]*)\r\n", head, re.IGNORECASE)
    return found[1] if found else None


def read_answer(line, method):
    """One answer, its body joined when it came in chunks: (head, body)."""
    while True:
        head = line.until(b"\r\n\r\n")
        status = int(head.split()[1])
        if status >= 200:
            break
    if method == b"HEAD" or status in (204, 304):
        return head, b""
    if header(head, b"transfer-encoding"):
        body = b""
        while size := int(line.until(b"\r\n").split(b";")[0], 16):
            body += line.exactly(size)
            line.until(b"\r\n")
        line.until(b"\r\n")
        head = re.sub(rb"\r\ntransfer-encoding:[^\r]*", b"", head, flags=re.IGNORECASE)
        return head[:-2] + b"Content-Length: %d\r\n\r\n" % len(body), body
    return head, line.exactly(int(header(head, b"content-length") or 0))


def ask(method, request):
    """The server's answer, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", SERVER), timeout=60) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request)
        return read_answer(Line(sock), method)


def canned(status, more=b""):
    body = b"<Error><Code>SlowDown</Code></Error>" if b"503" in status else b"<Error><Code>InternalError</Code></Error>"
    return b"HTTP/1.1 %s\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n%s\r\n" % (status, len(body), more), body


def arrive_late():
    """Sends delayed requests once a retry of them has been answered, or when they are due."""
    while True:
        time.sleep(0.05)
        with lock:
            due = [d for d in delayed if time.monotonic() >= d[1]]
            delayed[:] = [d for d in delayed if d not in due]
        for what, _, request in due:
            try:
                head, _ = ask(what.split()[0], request)
                with lock:
                    counts["delayed, then answered " + head.split()[1].decode()] += 1
            except (OSError, Gone):
                pass


def serve(client):
    line = Line(client)
    while True:
        head = line.until(b"\r\n\r\n")
        what = head.split(b"\r\n")[0]
        method = what.split()[0]
        if header(head, b"expect"):
            client.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            head = re.sub(rb"\r\nexpect:[^\r]*", b"", head, flags=re.IGNORECASE)
        request = head + line.exactly(int(header(head, b"content-length") or 0))
        with lock:
            fault = dice.choice(FAULTS) if dice.random() < RATE else None
            share = dice.random()
            if fault == "delayed" and method != b"PUT":
                fault = "stall"
            counts["requests"] += 1
            counts[fault or "untouched"] += 1
            if fault == "delayed":
                delayed.append([what, time.monotonic() + LATE, request])
        if fault in ("reset before", "delayed"):
            return line.reset()
        if fault == "stall":
            time.sleep(2 * share)
        if fault == "500 before":
            answer, body = canned(b"500 Internal Server Error")
        elif fault == "503":
            answer, body = canned(b"503 Slow Down")
        elif fault == "503 retry-after":
            answer, body = canned(b"503 Slow Down", b"Retry-After: 1\r\n")
        else:
            answer, body = ask(method, request)
            with lock:  # the retry of a delayed request has been answered: now it arrives
                for d in delayed:
                    if d[0] == what:
                        d[1] = 0
        if fault == "duplicated":
            answer, body = ask(method, request)
        if fault == "reset after":
            return line.reset()
        if fault == "500 after":
            answer, body = canned(b"500 Internal Server Error")
        if method == b"HEAD":
            body = b""
        if fault == "truncated":
            whole = answer + body
            client.sendall(whole[:int(len(whole) * share)])
            return client.close()
        if fault in ("length too long", "length too short") and body:
            size = len(body) + 1 + int(share * 1000) if fault == "length too long" else int(len(body) * share)
            answer = re.sub(rb"(\r\ncontent-length: *)\d+", rb"\g<1>%d" % size, answer, flags=re.IGNORECASE)
            client.sendall(answer + body)
            return client.close()
        client.sendall(answer + body)
        if (header(answer, b"connection") or b"").lower() == b"close":
            return client.close()


def guard(client):
    try:
        serve(client)
    except (OSError, Gone):
        client.close()


def main():
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    with open(PORT_FILE + ".new", "w") as f:
        print(listener.getsockname()[1], file=f)
    os.rename(PORT_FILE + ".new", PORT_FILE)

    def leave(*_):
        print(f"proxy, seed {SEED}: " + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())), flush=True)
        os._exit(0)

    signal.signal(signal.SIGTERM, leave)
    threading.Thread(target=arrive_late, daemon=True).start()
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=guard, args=(client,), daemon=True).start()


main()
