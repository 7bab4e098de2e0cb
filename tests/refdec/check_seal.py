#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""check_seal.py TEST_SEAL_GOLDEN.C: seals what that test seals, with the same counted nonces, and compares the hashes."""

import re
import struct
import sys

import aead
import noise_png
from vault import PADDED, PICTURE, PLAIN, body_size
from wire import H, derive


def seal(kind, shape, payload, root, vault, id, content, position):
    body = payload
    if shape != PLAIN:
        body = struct.pack("<Q", len(payload)) + payload
        body += bytes(body_size(shape, len(payload)) - len(body))
    key = derive(root, "lethefs object v1", vault + bytes([kind]) + id)
    associated = struct.pack("<IBBH", 1, kind, shape, 0) + vault + id + content + struct.pack("<Q", position)
    return aead.seal(key, bytes(range(24)), body, associated)


def main(source):
    with open(source) as file:
        expected = re.findall(r'check\(&buf, (\d+), "([0-9a-f]{64})"\)', file.read())[:3]
    names = b"\x11" * 16, b"\x22" * 16, b"\x33" * 16, 0x0102030405060708
    root = bytes(range(0x80, 0xA0))
    sealed = [seal(3, shape, b"a photograph", root, *names) for shape in (PLAIN, PADDED)]
    sealed.append(noise_png.wrap(seal(1, PICTURE, b"a photograph", root, *names)))
    found = [(str(len(s)), H(s).hex()) for s in sealed]
    if found != expected:
        print("sealed otherwise: %s, not %s" % (found, expected))
        return 1
    print("%d objects sealed alike" % len(sealed))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
