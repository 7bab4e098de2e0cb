# SPDX-License-Identifier: MIT
"""SAMPLES, fast bands: streams of tokens under static distributions."""

from wire import Malformed, require

TOKENS = 64
BITS = 12


class Distribution:
    """Slot s of 4096 tells a token and its rank, by the alias table of the page."""

    def __init__(self, chances):
        self.chances = chances
        bucket = 1 << BITS
        bucket //= TOKENS
        left = list(chances)
        cut = [min(bucket, c) for c in chances]
        small = [t for t in range(TOKENS) if chances[t] < bucket]
        large = [t for t in range(TOKENS) if chances[t] > bucket]
        other = [(t, 0) for t in range(TOKENS)]
        while small and large:
            to, source = small.pop(), large[-1]
            left[source] -= bucket - left[to]
            cut[to] = left[to]
            other[to] = source, left[source]
            if left[source] <= bucket:
                large.pop()
                if left[source] < bucket:
                    small.append(source)
        self.slots = []
        for t in range(TOKENS):
            for place in range(bucket):
                if place < cut[t]:
                    self.slots.append((t, place))
                else:
                    source, rank = other[t]
                    self.slots.append((source, rank + place - cut[t]))


class RansDecoder:
    def __init__(self, data):
        require(len(data) >= 4 and len(data) % 2 == 0, "a stream of an impossible length")
        self.x = int.from_bytes(data[:4], "little")
        require(self.x >= 1 << 16, "a stream that begins too low")
        self.words = [int.from_bytes(data[i : i + 2], "little") for i in range(4, len(data), 2)]
        self.at = 0

    def _refill(self):
        if self.x < 1 << 16:
            if self.at == len(self.words):
                raise Malformed("a stream that ends early")
            self.x = self.x << 16 | self.words[self.at]
            self.at += 1

    def token(self, distribution):
        token, rank = distribution.slots[self.x % (1 << BITS)]
        self.x = distribution.chances[token] * (self.x >> BITS) + rank
        self._refill()
        return token

    def bits(self, n):
        value = self.x % (1 << n)
        self.x >>= n
        self._refill()
        return value

    def end(self):
        require(self.x == 1 << 16 and self.at == len(self.words), "a stream that is not used up")
