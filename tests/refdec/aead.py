# SPDX-License-Identifier: MIT
"""XChaCha20-Poly1305 (RFC 8439 with the nonce of draft-irtf-cfrg-xchacha)."""

import hmac
import struct

from wire import Malformed

_MASK = 0xFFFFFFFF
# The quarter rounds of a double round, as indices of a, b, c, d.
_ROUNDS = [(i, i + 4, i + 8, i + 12) for i in range(4)]
_ROUNDS += [(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4) for i in range(4)]


def _rounds(x):
    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            xa, xb, xc, xd = x[a], x[b], x[c], x[d]
            xa = xa + xb & _MASK
            xd ^= xa
            xd = (xd << 16 | xd >> 16) & _MASK
            xc = xc + xd & _MASK
            xb ^= xc
            xb = (xb << 12 | xb >> 20) & _MASK
            xa = xa + xb & _MASK
            xd ^= xa
            xd = (xd << 8 | xd >> 24) & _MASK
            xc = xc + xd & _MASK
            xb ^= xc
            x[a], x[b], x[c], x[d] = xa, (xb << 7 | xb >> 25) & _MASK, xc, xd
    return x


_CONSTANTS = struct.unpack("<4I", b"expand 32-byte k")


def _hchacha(key, nonce16):
    x = _rounds(list(_CONSTANTS) + list(struct.unpack("<8I", key)) + list(struct.unpack("<4I", nonce16)))
    return struct.pack("<8I", *(x[:4] + x[12:]))


def _stream(key, nonce12, counter, length):
    """Blocks side by side: each word of the state is a big integer of 32-bit lanes, 64 bits apart."""
    start = list(_CONSTANTS) + list(struct.unpack("<8I", key)) + [0] + list(struct.unpack("<3I", nonce12))
    blocks = -(-length // 64)
    if blocks < 8:
        out = b""
        for i in range(blocks):
            start[12] = counter + i
            out += struct.pack("<16I", *(a + b & _MASK for a, b in zip(_rounds(list(start)), start)))
        return out[:length]
    ones = int.from_bytes(b"\1\0\0\0\0\0\0\0" * blocks, "little")
    mask = ones * _MASK
    lanes = [n * ones for n in start]
    lanes[12] = int.from_bytes(b"".join(struct.pack("<Q", counter + i & _MASK) for i in range(blocks)), "little")
    x = list(lanes)
    low = {n: ones * ((1 << n) - 1) for n in (7, 8, 12, 16)}

    def turn(v, n):
        return (v << n & mask) | (v >> (32 - n) & low[n])

    for _ in range(10):
        for a, b, c, d in _ROUNDS:
            x[a] = x[a] + x[b] & mask
            x[d] = turn(x[d] ^ x[a], 16)
            x[c] = x[c] + x[d] & mask
            x[b] = turn(x[b] ^ x[c], 12)
            x[a] = x[a] + x[b] & mask
            x[d] = turn(x[d] ^ x[a], 8)
            x[c] = x[c] + x[d] & mask
            x[b] = turn(x[b] ^ x[c], 7)
    words = [((a + b) & mask).to_bytes(8 * blocks, "little") for a, b in zip(x, lanes)]
    columns = [struct.unpack("<%dQ" % blocks, w) for w in words]
    return b"".join(struct.pack("<16I", *block) for block in zip(*columns))[:length]


def _poly1305(key, data):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    acc = 0
    for i in range(0, len(data), 16):
        acc = (acc + int.from_bytes(data[i : i + 16] + b"\1", "little")) * r % ((1 << 130) - 5)
    return (acc + int.from_bytes(key[16:32], "little") & (1 << 128) - 1).to_bytes(16, "little")


def _tag(key, nonce12, associated, ciphertext):
    def padded(data):
        return data + bytes(-len(data) % 16)

    lengths = struct.pack("<QQ", len(associated), len(ciphertext))
    return _poly1305(_stream(key, nonce12, 0, 32), padded(associated) + padded(ciphertext) + lengths)


def _xor(data, stream):
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(len(data), "little")


def seal(key, nonce, plaintext, associated):
    """nonce | ciphertext | tag"""
    subkey, nonce12 = _hchacha(key, nonce[:16]), bytes(4) + nonce[16:]
    ciphertext = _xor(plaintext, _stream(subkey, nonce12, 1, len(plaintext)))
    return nonce + ciphertext + _tag(subkey, nonce12, associated, ciphertext)


def open(key, sealed, associated):
    if len(sealed) < 40:
        raise Malformed("a sealed string that is too short")
    nonce, ciphertext, tag = sealed[:24], sealed[24:-16], sealed[-16:]
    subkey, nonce12 = _hchacha(key, nonce[:16]), bytes(4) + nonce[16:]
    if not hmac.compare_digest(tag, _tag(subkey, nonce12, associated, ciphertext)):
        raise Malformed("a sealed string that does not verify")
    return _xor(ciphertext, _stream(subkey, nonce12, 1, len(ciphertext)))
