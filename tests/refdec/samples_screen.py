# SPDX-License-Identifier: MIT
"""SAMPLES, screen bands: colours guessed from their surroundings, or named, or told."""

from coding import Mixer, RangeDecoder, Table, coin, decode_coin
from samples_strong import l, median, s
from wire import require

COIN_LIMIT = 80
LOW, HIGH = 16, 65520
STEP = 24
MASK = (1 << 64) - 1


def stir(a, v):
    t = (a ^ v) * 0x9E3779B97F4A7C15 & MASK
    return t ^ t >> 32


def lanes(colour, channels):
    return [colour >> 16 * c & 0xFFFF for c in range(channels)]


class Memory:
    """What followed surroundings."""

    def __init__(self):
        self.known = {}  # place: [colour, sure]

    def guess(self, at):
        colour, sure = self.known.get(at, (None, 0))
        return colour, 0 if not sure else 1 if sure == 1 else 2 if sure < 4 else 3

    def learn(self, at, colour):
        entry = self.known.setdefault(at, [None, 0])
        if entry[0] == colour and entry[1]:
            entry[1] = min(15, entry[1] + 1)
            return
        entry[1] >>= 2
        if not entry[1]:
            entry[:] = [colour, 1]


class Screen:
    def __init__(self, data, band):
        self.band = band
        self.channels = len(band.xhat)
        self.sh = 8 if band.depth == 16 else 0
        self.most = (1 << band.depth) - 1
        pixels = band.width * band.rows
        self.places = next((1 << b for b in range(10, 17) if 1 << b >= pixels), 1 << 17)
        self.coder = RangeDecoder(data)
        self.mixer = Mixer(self.coder, COIN_LIMIT, LOW, HIGH)
        self.coins = Table(coin)
        self.weights = Table(lambda: [19660] * 6 + [0])
        self.index_weights = Table(lambda: [19660] * 4)
        self.sample_weights = Table(lambda: [26214] * 3)
        self.memories = [Memory() for _ in range(3)]
        self.colours, self.indices = [], {}
        self.was_new = 0

    def distance(self, colour, h):
        apart = zip(lanes(colour, self.channels), lanes(h, self.channels))
        return l(sum(abs(a - b) >> self.sh for a, b in apart), 15)

    def coin(self, *context):
        return decode_coin(self.coder, self.coins[context], COIN_LIMIT, LOW, HIGH)

    def pixel(self, near, h, ranks):
        """The colour and the rank; near: W, N, NW, NE, WW, NN, NNE, NNW, NEE, NWW."""
        W, N, NW, NE, WW, NN, NNE, NNW, NEE, NWW = near
        tried = []
        if W == N == NW == NE == WW == NN:
            if self.coin("even", self.distance(N, h), (NEE == N) + 2 * (NNE == N), stir(1, N) % 16):
                return N, 0
            tried = [N]
        first = len(tried)
        hashes = [1]
        for colour in near:
            hashes.append(stir(hashes[-1], colour))
        near2, near4, near6, near10 = hashes[2], hashes[4], hashes[6], hashes[10]
        at = [n % self.places for n in (near10, near6, near2)]
        known = [memory.guess(place) for memory, place in zip(self.memories, at)]
        trusts = tuple(trust for _, trust in known)
        value = None
        for k, guess in enumerate([colour for colour, _ in known] + [W, N, NW, NE, WW, NN]):
            if guess is None or guess in tried:
                continue
            n = len(tried) - first
            same = (guess == W) + 2 * (guess == N) + 4 * (guess == NW) + 8 * (guess == NE)
            contexts = (
                (0, k, min(n, 7), trusts),
                (1, stir(near10, n) % self.places),
                (2, stir(near6, n) % self.places),
                (3, stir(near4, 16 * n + same) % self.places),
                (4, self.distance(guess, h), k, same),
                (5, ranks, min(n, 7)),
            )
            if self.mixer.decode([self.coins[c] for c in contexts], self.weights[min(n, 7), trusts], STEP, True):
                value, rank = guess, n
                break
            tried.append(guess)
        if value is None:
            value, rank = self.unguessed(near, h), 9
        for memory, place in zip(self.memories, at):
            memory.learn(place, value)
        return value, rank

    def unguessed(self, near, h):
        W, N, NW, NE = near[:4]
        if self.colours:
            self.was_new = self.coin("new", self.was_new)
            if not self.was_new:
                contexts = [self.indices.get(colour, 255) for colour in (W, N, NE)] + [0]
                node = 1
                for _ in range(8):
                    coins = [self.coins["index", m, context, node] for m, context in enumerate(contexts)]
                    node = node << 1 | self.mixer.decode(coins, self.index_weights[node], STEP)
                require(node - 256 < len(self.colours), "a colour that is not there")
                return self.colours[node - 256]
        value, before = 0, 0
        for c, (w, n, nw, hc) in enumerate(zip(*(lanes(v, self.channels) for v in (W, N, NW, h)))):
            p = median(w, n, nw)
            side = (abs(hc - p) >> self.sh) * (-1 if hc < p else 1)
            before = self.error(
                c,
                (
                    l((abs(w - nw) + abs(n - nw)) >> self.sh, 15) + 16 * (before == 0),
                    s(side, 7) + 16 * (before == 0),
                    l(abs(before) >> self.sh, 15) + 16 * (before < 0),
                ),
            )
            require(0 <= p + before <= self.most, "a sample out of range")
            value |= p + before << 16 * c
        if len(self.colours) < 256 and value not in self.indices:
            self.indices[value] = len(self.colours)
            self.colours.append(value)
        return value

    def error(self, c, contexts):
        def decide(slot):
            coins = [self.coins["sample", m, c, context, slot] for m, context in enumerate(contexts)]
            return self.mixer.decode(coins, self.sample_weights[c, slot], STEP)

        if not decide(0):
            return 0
        negative = decide(1)
        b = 0
        while b < 16 and decide(2 + b):
            b += 1
        e = 1
        if b:
            e = 2 | decide(19 + b)
            e = e << (b - 1) | self.coder.raw(b - 1)
        return -e if negative else e


def decode(data, band):
    screen = Screen(data, band)
    width = band.width
    pad = [0] * 3
    above, second = [0] * (width + 6), [0] * (width + 6)
    ranks_above = [0] * (width + 2)
    planes = [[] for _ in band.xhat]
    for y in range(band.rows):
        hs = [plane[band.first_row + y] for plane in band.xhat]
        row, ranks = pad + [0] * width + pad, [0] * (width + 2)
        for x in range(width):
            i = x + 3
            h = sum(plane[x] << 16 * c for c, plane in enumerate(hs))
            near = (
                row[i - 1], above[i], above[i - 1], above[i + 1], row[i - 2], second[i],
                second[i + 1], second[i - 1], above[i + 2], above[i - 2],
            )
            row[i], ranks[x + 1] = screen.pixel(near, h, (ranks[x], ranks_above[x + 1], ranks_above[x + 2]))
        for c, plane in enumerate(planes):
            plane.append([colour >> 16 * c & 0xFFFF for colour in row[3:-3]])
        above, second, ranks_above = row, above, ranks
    screen.coder.end()
    return planes
