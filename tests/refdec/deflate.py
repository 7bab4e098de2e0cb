# SPDX-License-Identifier: MIT
"""DEFLATE DESCRIPTIONS: a raw deflate stream of the bytes that it holds and how its encoder chose."""

from coding import Bit, RangeDecoder
from wire import Malformed, require
import deflate_optimal
import deflate_trees as trees_of
import deflate_zlib

STORED, FIXED, DYNAMIC = range(3)


class BitWriter:
    def __init__(self):
        self.out = bytearray()
        self.hold = self.held = 0

    def put(self, value, bits):
        self.hold |= value << self.held
        self.held += bits
        while self.held >= 8:
            self.out.append(self.hold & 255)
            self.hold >>= 8
            self.held -= 8

    def fill(self, padding):
        n = -self.held % 8
        self.put(padding & (1 << n) - 1, n)

    @staticmethod
    def words(lengths):
        """Codes as they are sent, by symbol: (bits, how many)."""
        code, out = 0, {}
        for size in range(1, 16):
            for symbol, length in enumerate(lengths):
                if length == size:
                    out[symbol] = int(format(code, "0%db" % size)[::-1], 2), size
                    code += 1
            code <<= 1
        return out

    def block(self, block, data, tokens):
        self.put(block.final, 1)
        self.put(block.kind, 2)
        if block.kind == STORED:
            self.fill(block.padding)
            self.put(block.bytes, 16)
            self.put(block.bytes ^ 0xFFFF, 16)
            self.out += data[block.start : block.start + block.bytes]
            return
        if block.kind == FIXED:
            lit, dist = self.words(trees_of.FIXED_LIT), self.words(trees_of.FIXED_DIST)
        else:
            trees = block.trees
            lit, dist = self.words(trees.lit), self.words(trees.dist)
            self.put(len(trees.lit) - 257, 5)
            self.put(len(trees.dist) - 1, 5)
            self.put(trees.clens - 4, 4)
            for symbol in trees_of.CLEN_ORDER[: trees.clens]:
                self.put(trees.clen[symbol], 3)
            words = self.words(trees.clen)
            for op, extra in trees.ops:
                self.put(*words[op])
                self.put(extra, trees_of.OP_EXTRA.get(op, 0))
        try:
            for length, distance in tokens:
                if not distance:
                    self.put(*lit[length])
                    continue
                symbol = trees_of.LENGTH_SYMBOL[length]
                self.put(*lit[symbol])
                self.put(length - trees_of.LENGTH_BASE[symbol - 257], trees_of.LENGTH_EXTRA[symbol - 257])
                symbol = trees_of.distance_symbol(distance)
                self.put(*dist[symbol])
                self.put(distance - trees_of.DISTANCE_BASE[symbol], trees_of.DISTANCE_EXTRA[symbol])
            self.put(*lit[256])
        except KeyError:
            raise Malformed("a symbol without a code")


class Padding:
    def __init__(self, coder):
        self.coder, self.bit = coder, Bit()

    def decode(self):
        return self.coder.raw(7) if self.bit.decode(self.coder) else 0


def replay(description, data):
    require(len(description) >= 3 and description[0] <= 1, "an unknown method")
    level, strategy = description[1] & 15, description[1] >> 4
    memory, window = description[2] & 15, description[2] >> 4
    require(level <= 9 and strategy <= 3 and 1 <= memory <= 9 and window >= 8, "unknown settings")
    coder = RangeDecoder(description[3:])
    padding = Padding(coder)
    if description[0]:
        model = deflate_optimal.Model(coder, data, padding)
    else:
        model = deflate_zlib.Model(coder, data, padding, level, strategy, memory, max(9, window))
    writer = BitWriter()
    at = 0
    while True:
        block, tokens = model.block(at)
        writer.block(block, data, tokens)
        at += block.bytes
        if block.final:
            break
    require(at == len(data), "a stream that does not hold all data")
    writer.fill(padding.decode())
    return bytes(writer.out)
