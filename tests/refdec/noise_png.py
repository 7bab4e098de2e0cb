# SPDX-License-Identifier: MIT
"""NOISE PICTURES: the one PNG that holds given bytes, and the bytes in it."""

import struct
import zlib

from wire import require


def _root_up(n):
    """ceil(sqrt(n))"""
    root = int(n**0.5)
    while root * root < n:
        root += 1
    while root > 1 and (root - 1) ** 2 >= n:
        root -= 1
    return root


def size(m):
    pixels = -(-m // 3)
    w = _root_up(pixels)
    return w, -(-pixels // w)


def capacity(m):
    w, h = size(m)
    return 3 * w * h


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def wrap(data):
    w, h = size(len(data))
    require(3 * w * h == len(data), "bytes that fill no noise picture")
    raw = b"".join(b"\0" + data[3 * w * y : 3 * w * (y + 1)] for y in range(h))
    stored = b""
    for at in range(0, len(raw), 65535):
        part = raw[at : at + 65535]
        stored += struct.pack("<BHH", at + 65535 >= len(raw), len(part), len(part) ^ 0xFFFF) + part
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(raw)))
        + chunk(b"IEND", b"")
    )


def unwrap(png):
    require(len(png) > 33, "no noise picture")
    w, h = struct.unpack(">II", png[16:24])
    require(1 <= w <= 1 << 15 and h in (w, w - 1) and h > 0, "no noise picture")
    raw_len = h * (3 * w + 1)
    start = 8 + 25 + 8 + 2
    require(len(png) >= start + raw_len, "no noise picture")
    raw = b"".join(png[at + 5 : at + 5 + 65535] for at in range(start, len(png) - 16, 65535 + 5))[:raw_len]
    data = b"".join(raw[(3 * w + 1) * y + 1 : (3 * w + 1) * (y + 1)] for y in range(h))
    require(wrap(data) == png, "a noise picture that is not the canonical one")
    return data
