# SPDX-License-Identifier: MIT
"""Integers and byte strings as the page's "Conventions" tell them, and BLAKE2b."""

import hashlib
import struct


class Malformed(Exception):
    """Bytes that lethefs-format(5) does not allow."""


def require(condition, what):
    if not condition:
        raise Malformed(what)


def clamp(v, a, b):
    return a if v < a else b if v > b else v


def H(*parts, key=b""):
    return hashlib.blake2b(b"".join(parts), key=key, digest_size=32).digest()


def derive(key, label, context=b""):
    label = label.encode()
    return H(bytes([len(label)]), label, context, key=key)


def combine(a, b, label):
    label = label.encode()
    return H(b"\0", bytes([len(label)]), label, b, key=a)


class Reader:
    """Takes a byte string from its beginning to its end."""

    def __init__(self, data):
        self.data = data
        self.at = 0

    def left(self):
        return len(self.data) - self.at

    def take(self, n):
        require(n <= self.left(), "truncated")
        self.at += n
        return self.data[self.at - n : self.at]

    def rest(self):
        return self.take(self.left())

    def integer(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def u8(self):
        return self.take(1)[0]

    def u16(self):
        return self.integer("H")

    def u32(self):
        return self.integer("I")

    def u64(self):
        return self.integer("Q")

    def i64(self):
        return self.integer("q")

    def varint(self):
        value = 0
        for i in range(10):
            byte = self.u8()
            value |= (byte & 127) << 7 * i
            if byte < 128:
                require(byte or not i, "a varint that is not the shortest")
                require(value < 1 << 64, "a varint above 64 bits")
                return value
        raise Malformed("a varint above 10 bytes")

    def block(self):
        return self.take(self.varint())

    def end(self):
        require(not self.left(), "bytes behind the end")
