# SPDX-License-Identifier: MIT
"""ADAPTIVE CODING: the range coder, adaptive bits, coins, and mixing."""

from wire import Malformed, clamp, require

SLACK = 4  # bytes that a decoder may take past the end before the stream is refused


class RangeDecoder:
    def __init__(self, data, slack=SLACK):
        self.data = bytes(data) + bytes(slack)
        self.slack = slack
        self.range = (1 << 32) - 1
        self.code = 0
        self.at = 0
        for _ in range(5):
            self.code = (self.code << 8 | self.byte()) & 0xFFFFFFFF

    def byte(self):
        if self.at >= len(self.data):
            raise Malformed("a coded stream that ends early")
        self.at += 1
        return self.data[self.at - 1]

    def decide(self, p1):
        bound = (self.range >> 16) * p1
        if self.code < bound:
            self.range = bound
            value = 1
        else:
            self.code -= bound
            self.range -= bound
            value = 0
        while self.range < 1 << 24:
            self.range = self.range << 8 & 0xFFFFFFFF
            self.code = (self.code << 8 | self.byte()) & 0xFFFFFFFF
        return value

    def raw(self, bits):
        value = 0
        for _ in range(bits):
            value = value << 1 | self.decide(1 << 15)
        return value

    def end(self):
        """For a stream that must end where its length says."""
        require(self.at == len(self.data) - self.slack, "a coded stream that is not used up")


class Bit:
    __slots__ = ("fast", "slow")

    def __init__(self):
        self.fast = self.slow = 1 << 15

    def decode(self, coder):
        if coder.decide(clamp((self.fast + self.slow) >> 1, 32, 65504)):
            self.fast += (65535 - self.fast) >> 4
            self.slow += (65535 - self.slow) >> 7
            return 1
        self.fast -= self.fast >> 4
        self.slow -= self.slow >> 7
        return 0


class Tree:
    def __init__(self, depth):
        self.depth = depth
        self.bits = {}

    def decode(self, coder):
        node = 1
        for _ in range(self.depth):
            if node not in self.bits:
                self.bits[node] = Bit()
            node = node << 1 | self.bits[node].decode(coder)
        return node - (1 << self.depth)


class Number:
    def __init__(self):
        self.exponent = [Bit() for _ in range(33)]
        self.mantissa = [Bit() for _ in range(33)]

    def decode(self, coder):
        n = 0
        while n < 32 and self.exponent[n].decode(coder):
            n += 1
        value = 1
        if n:
            value = value << 1 | self.mantissa[n].decode(coder)
            value = value << (n - 1) | coder.raw(n - 1)
        return value - 1


class Table(dict):
    """Models by context, made when they are first asked for."""

    def __init__(self, make):
        super().__init__()
        self.make = make

    def __missing__(self, key):
        self[key] = value = self.make()
        return value


# Coins are lists [p, count]: there are many of them, and this is the hot path.
RATE = [655360 // (10 * n + 16) for n in range(1024)]


def coin():
    return [1 << 21, 0]


def toss(coin, value, limit):
    """Tells a coin the value that came."""
    coin[0] += ((((1 << 22) - 1 if value else 0) - coin[0]) * RATE[coin[1]]) >> 16
    if coin[1] < limit:
        coin[1] += 1


def decode_coin(coder, coin, limit, low, high):
    value = coder.decide(clamp(coin[0] >> 6, low, high))
    toss(coin, value, limit)
    return value


LOGIT_MAX = 2815


def _tables():
    chance = {}
    power = 1 << 62
    for k in range(LOGIT_MAX + 1):
        below = ((1 << 62) + power) >> 16
        p = min(65535, ((1 << 62) + below // 2) // below)
        chance[k] = p
        chance[-k] = 65536 - p
        power = power * 4593706758521714574 >> 62
    logit = []
    k = -LOGIT_MAX
    for q in range(4096):
        while k < LOGIT_MAX and chance[k] < 16 * q + 8:
            k += 1
        logit.append(k)
    return chance, logit


CHANCE, LOGIT = _tables()


class Mixer:
    """Decisions mixed from coins under weights, which are changed."""

    def __init__(self, coder, limit, low, high):
        self.coder, self.limit, self.low, self.high = coder, limit, low, high

    def decode(self, coins, weights, step, constant=False):
        x = [LOGIT[c[0] >> 10] for c in coins]
        if constant:
            x.append(256)
        k = (1 << 15) + sum(map(int.__mul__, weights, x)) >> 16
        k = clamp(k, -LOGIT_MAX, LOGIT_MAX)
        value = self.coder.decide(clamp(CHANCE[k], self.low, self.high))
        e = ((value << 16) - CHANCE[k]) * step
        for i, xi in enumerate(x):
            weights[i] = clamp(weights[i] + ((e * xi + (1 << 19)) >> 20), -(1 << 21), 1 << 21)
        for c in coins:
            toss(c, value, self.limit)
        return value
