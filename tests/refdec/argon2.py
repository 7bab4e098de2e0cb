# SPDX-License-Identifier: MIT
"""Argon2id, version 1.3 (RFC 9106). In Python 16 MiB take a minute."""

import hashlib
import struct

_MASK = (1 << 64) - 1


def _long_hash(data, length):
    data = struct.pack("<I", length) + data
    if length <= 64:
        return hashlib.blake2b(data, digest_size=length).digest()
    v = hashlib.blake2b(data).digest()
    out = v[:32]
    while length - len(out) > 64:
        v = hashlib.blake2b(v).digest()
        out += v[:32]
    return out + hashlib.blake2b(v, digest_size=length - len(out)).digest()


_MIXES = [(i, i + 4, i + 8, i + 12) for i in range(4)]
_MIXES += [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]
_ROWS = [[16 * r + i for i in range(16)] for r in range(8)]
_COLUMNS = [[16 * i + 2 * c + j for i in range(8) for j in range(2)] for c in range(8)]
_ORDER = [tuple(line[i] for i in mix) for line in _ROWS + _COLUMNS for mix in _MIXES]


def _compress(x, y):
    low = 0xFFFFFFFF
    r = [a ^ b for a, b in zip(x, y)]
    z = list(r)
    for ia, ib, ic, id_ in _ORDER:
        a, b, c, d = z[ia], z[ib], z[ic], z[id_]
        a = a + b + 2 * (a & low) * (b & low) & _MASK
        d ^= a
        d = d >> 32 | (d & low) << 32
        c = c + d + 2 * (c & low) * (d & low) & _MASK
        b ^= c
        b = b >> 24 | (b << 40) & _MASK
        a = a + b + 2 * (a & low) * (b & low) & _MASK
        d ^= a
        d = d >> 16 | (d << 48) & _MASK
        c = c + d + 2 * (c & low) * (d & low) & _MASK
        b ^= c
        z[ia], z[ib], z[ic], z[id_] = a, b >> 63 | (b << 1) & _MASK, c, d
    return [a ^ b for a, b in zip(r, z)]


def argon2id(password, salt, memory_kib, passes, lanes, length, secret=b"", associated=b""):
    def field(data):
        return struct.pack("<I", len(data)) + data

    h0 = hashlib.blake2b(
        struct.pack("<6I", lanes, length, memory_kib, passes, 0x13, 2)
        + field(password) + field(salt) + field(secret) + field(associated)
    ).digest()  # fmt: skip
    segment = memory_kib // (4 * lanes)
    q = 4 * segment
    B = [[None] * q for _ in range(lanes)]
    for i in range(lanes):
        for j in range(2):
            B[i][j] = list(struct.unpack("<128Q", _long_hash(h0 + struct.pack("<II", j, i), 1024)))
    zero = [0] * 128
    for turn in range(passes):
        for part in range(4):
            for lane in range(lanes):
                addresses = None
                for index in range(segment):
                    j = part * segment + index
                    if turn == 0 and part < 2:
                        if addresses is None or index % 128 == 0:
                            counter = [turn, lane, part, q * lanes, passes, 2, index // 128 + 1] + [0] * 121
                            addresses = _compress(zero, _compress(zero, counter))
                        pseudo = addresses[index % 128]
                    else:
                        pseudo = B[lane][j - 1][0]
                    if turn == 0 and j < 2:
                        continue
                    j1, j2 = pseudo & 0xFFFFFFFF, pseudo >> 32
                    other = lane if turn == 0 and part == 0 else j2 % lanes
                    if turn == 0:
                        size = part * segment + (index - 1 if other == lane else -(index == 0))
                        start = 0
                    else:
                        size = 3 * segment + (index - 1 if other == lane else -(index == 0))
                        start = (part + 1) * segment % q
                    x = j1 * j1 >> 32
                    at = (start + size - 1 - (size * x >> 32)) % q
                    new = _compress(B[lane][j - 1], B[other][at])
                    if turn:
                        new = [a ^ b for a, b in zip(new, B[lane][j])]
                    B[lane][j] = new
    final = B[0][q - 1]
    for lane in range(1, lanes):
        final = [a ^ b for a, b in zip(final, B[lane][q - 1])]
    return _long_hash(struct.pack("<128Q", *final), length)
