# SPDX-License-Identifier: MIT
"""SAMPLES, strong bands: predictions by context and least squares, errors by mixed coins."""

from operator import mul

from coding import Mixer, RangeDecoder, Table, coin, decode_coin
from wire import clamp, require

COIN_LIMIT = 500
LOW, HIGH = 16, 65520
STEP = 14
BLOCK = 16


def level(v):
    if v < 2:
        return v
    b = v.bit_length() - 1
    return 2 * b + (v >> (b - 1) & 1)


def l(v, m):
    return min(level(v), m)


def s(v, m):
    return m - l(-v, m) if v < 0 else m + l(v, m)


def toward_zero(a, b):
    return a // b if a >= 0 else -(-a // b)


def median(a, b, c):
    return clamp(a + b - c, min(a, b), max(a, b))


def trust(n):
    b = min(13, (n + 8).bit_length() - 1)
    i = 8 * (b - 3) + ((n + 8) >> (b - 3)) % 8
    E = ((8 + i % 8) << i // 8) - 4 + ((1 << i // 8) >> 1)
    return (1 << 23) // (E * E) + 1


class LeastSquares:
    """The sums of products of one channel, by blocks of 16 columns."""

    def __init__(self, features, width):
        self.n = features
        self.pairs = [(i, j) for i in range(features) for j in range(i + 1)]
        blocks = -(-width // BLOCK)
        self.M = [[0] * len(self.pairs) for _ in range(blocks)]
        self.y = [[0] * features for _ in range(blocks)]

    def solve(self, block):
        near = range(max(0, block - 2), min(len(self.M), block + 2))
        M = [sum(v) for v in zip(*(self.M[b] for b in near))]
        y = [sum(v) for v in zip(*(self.y[b] for b in near))]
        self.M[block] = [v - (v >> 2) for v in self.M[block]]
        self.y[block] = [v - (v >> 2) for v in self.y[block]]
        return solve(self.n, M, y)

    def add(self, block, features, target, gain, sh):
        values = [clamp(toward_zero((v >> sh) * gain, 16), -1023, 1023) for v in features + [target]]
        target = values.pop()
        self.M[block] = [v + values[i] * values[j] for v, (i, j) in zip(self.M[block], self.pairs)]
        self.y[block] = [v + value * target for v, value in zip(self.y[block], values)]


def solve(n, M, y):
    rows = [M[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2] for i in range(n)]
    for i in range(n):
        rows[i][i] += 64
    sh = 29 - (max(rows[i][i] for i in range(n)).bit_length() - 1)
    shift = (lambda v: v << sh) if sh >= 0 else (lambda v: v >> -sh)
    rows = [[shift(v) for v in row] for row in rows]
    ridge = (1 << 19) + (64 << min(sh, 22) if sh > 0 else 0)
    prior = [49152, 49152, -32768] + [0] * (n - 3)
    for i in range(n):
        rows[i][i] += ridge
    y = [clamp(shift(v) + (ridge * p >> 16), -(1 << 34), 1 << 34) for v, p in zip(y, prior)]
    L = [[] for _ in range(n)]
    inv = []
    most = (1 << 31) - 1
    for j in range(n):
        column = rows[j][:j]
        for i in range(j, n):
            rows[i][j] = clamp(rows[i][j] - (sum(map(mul, L[i], column)) >> 20), -most, most)
        rows[j][j] = max(rows[j][j], ridge)
        inv.append((1 << 48) // rows[j][j])
        for i in range(j + 1, n):
            L[i].append(clamp(rows[i][j] * inv[j] >> 28, -(1 << 27), 1 << 27))
    for i in range(n):
        y[i] = clamp(y[i] - sum(l * v >> 20 for l, v in zip(L[i], y)), -(1 << 33), 1 << 33)
    weight = [0] * n
    for i in range(n - 1, -1, -1):
        below = sum(L[k][i] * weight[k] for k in range(i + 1, n)) >> 20
        weight[i] = clamp((y[i] * inv[i] >> 32) - below, -(1 << 20), 1 << 20)
    return weight


class Channel:
    """The state of one channel within a band."""

    def __init__(self, band, index):
        self.low, self.high = band.ranges[index]
        self.h = band.xhat[index]
        self.before = max(0, index - band.alpha)  # colour channels coded before
        self.squares = LeastSquares(17 if self.before >= 2 else 14, band.width)
        self.coins = Table(coin)
        self.weights = {}
        self.bias = Table(lambda: [0, 0])
        self.under = 0  # the last sample under alpha 0
        self.x, self.e = [], []  # rows of the band
        self.off = None  # of the row above: |8 (sample - h) - p| of the six predictions


def _right(row, x):
    return row[x] if x < len(row) else row[-1]


def _h(row, x):
    return row[clamp(x, 0, len(row) - 1)]


def decode(data, band):
    coder = RangeDecoder(data)
    mixer = Mixer(coder, COIN_LIMIT, LOW, HIGH)
    channels = [Channel(band, i) for i in range(len(band.order))]
    for y in range(band.rows):
        flags = [0] * band.width
        for i, channel in enumerate(channels):
            _row(coder, mixer, band, channels, i, y, flags)
    coder.end()
    return [channel.x for channel in channels]


def _row(coder, mixer, band, channels, index, y, flags):
    channel = channels[index]
    width = band.width
    sh = 6 if band.depth == 16 else 0
    Y = band.first_row + y
    hrow = channel.h[Y]
    habove = channel.h[Y - 1] if y else hrow
    hbelow = channel.h[min(Y + 1, len(channel.h) - 1)]
    above = channel.x[y - 1] if y else hrow
    second = channel.x[y - 2] if y > 1 else above
    eabove = channel.e[y - 1] if y else [0] * width
    esecond = channel.e[y - 2] if y > 1 else [0] * width
    none = (0,) * 6
    off_above = channel.off or [none] * width
    off = []
    x_row, e_row = [], []
    channel.x.append(x_row)
    channel.e.append(e_row)
    colours = [channels[c] for c in range(index - 1, index - 1 - channel.before, -1)][:2]
    coins, bias = channel.coins, channel.bias
    alpha = channels[0] if band.alpha and index else None
    weights5 = None

    for x in range(width):
        if x % BLOCK == 0:
            weights5 = channel.squares.solve(x // BLOCK)
        h, hW, hE, hN, hS = hrow[x], _h(hrow, x - 1), _h(hrow, x + 1), habove[x], hbelow[x]
        W = x_row[x - 1] if x else above[0]
        WW = x_row[x - 2] if x > 1 else above[0]
        N, NE, NEE = above[x], _right(above, x + 1), _right(above, x + 2)
        NW = above[x - 1] if x else above[0]
        NN, NNE = second[x], _right(second, x + 1)

        value = None
        if alpha and alpha.x[y][x] == 0:
            aW = alpha.x[y][x - 1] if x else (alpha.x[y - 1] if y else alpha.h[Y])[0]
            aN = (alpha.x[y - 1] if y else alpha.h[Y])[x]
            if decode_coin(coder, coins["alpha", (aW == 0) + 2 * (aN == 0)], COIN_LIMIT, LOW, HIGH):
                value = channel.under
                flags[x] = 1
        if value is None:
            if W == N == NW == NE == WW == NN:
                context = flags[x] + (0 if channel.before else 4)
                if decode_coin(coder, coins["even", context], COIN_LIMIT, LOW, HIGH):
                    value = N
                    flags[x] = 1
                else:
                    flags[x] = 2
            else:
                flags[x] = 3
        if value is not None:
            x_row.append(value)
            e_row.append(0)
            off.append(none)
            if alpha and alpha.x[y][x] == 0:
                channel.under = value
            continue

        features = [W - h, N - h, NW - h, NE - h, WW - h, NN - h, hW - h, hN - h, hE - h, hS - h]
        if not colours:
            features += [NEE - h, NNE - h, _h(hbelow, x - 1) - h, _h(hbelow, x + 1) - h]
        for n, other in enumerate(colours):
            row = other.x[y]
            o = row[x]
            oabove = other.x[y - 1] if y else other.h[Y]
            features += [o - other.h[Y][x], o - (row[x - 1] if x else oabove[0]), o - oabove[x]]
            if not n:
                features.append(o - _right(row, x + 1))
        p = (
            8 * (W - h) + 4 * (h - hW),
            8 * (N - h) + 4 * (h - hN),
            8 * (W + N - NW - h),
            8 * (W + NE - N - h),
            4 * (median(W, N, NW) - h + median(W - hW, N - hN, NW - _h(habove, x - 1))),
            clamp(
                (sum(map(mul, weights5, features)) + (1 << 12)) >> 13,
                8 * (channel.low - h), 8 * (channel.high - h),
            ),
        )
        around = (
            off_above[x],
            off[x - 1] if x else none,
            off_above[x + 1] if x + 1 < width else none,
            off_above[x - 1] if x else none,
        )
        t = [trust(sum(n) >> sh) for n in zip(*around)]
        t[5] *= 4
        total = sum(t)
        if total >= 1024:
            shift = total.bit_length() - 10
            t = [n >> shift for n in t]
            total = sum(t)
        P = 8 * h + (sum(map(mul, t, p)) * ((1 << 22) // total) >> 22)

        eW, eWW = (e_row[x - 1] if x else 0), (e_row[x - 2] if x > 1 else 0)
        eN, eNE, eNW, eNN = eabove[x], _right(eabove, x + 1), (eabove[x - 1] if x else 0), esecond[x]
        activity = 2 * abs(eW) + 2 * abs(eN) + abs(eNW) + abs(eNE) + abs(eWW) + abs(eNN)
        act = min(39, level(activity))
        texture = (
            (8 * W > P) | (8 * N > P) << 1 | (8 * NW > P) << 2 | (8 * NE > P) << 3 | (8 * h > P) << 4
            | (8 * (2 * N - NN) > P) << 5
        )
        corrected = bias[10 * texture + act // 4]
        P = clamp(P + (corrected[0] * ((1 << 22) // (corrected[1] + 1)) >> 22), 8 * channel.low, 8 * channel.high)
        rounded = (P + 4) >> 3

        c = colours[0].e[y][x] if colours else 0
        cross = l(abs(c), 19) if colours else l((abs(hE - hW) + abs(hS - hN)) >> sh, 19)
        contexts = (
            8 * act + (P + 4) % 8,
            20 * l(abs(eW) + abs(eWW), 19) + l(abs(eN) + abs(eNE), 19),
            20 * s((h - rounded) >> sh, 7) + act // 2,
            81 * s(eW >> sh, 4) + 9 * s(eN >> sh, 4) + s(c >> sh, 4),
            20 * s((p[5] + 8 * h - P) >> sh, 7) + act // 2,
            10 * texture + act // 4,
            20 * cross + act // 2,
        )

        def decide(slot):
            key = slot, min(4, act // 5)
            if key not in channel.weights:
                channel.weights[key] = [14043] * 7 + [0]
            return mixer.decode(
                [coins[n, context, slot] for n, context in enumerate(contexts)], channel.weights[key], STEP, True
            )

        e = 0
        if decide(0):
            negative = decide(1)
            b = 0
            while b < 21 and decide(2 + b):
                b += 1
            e = 1
            if b:
                bit = decide(24 + b)
                e = 2 | bit
                if b > 1:
                    e = e << 1 | decode_coin(coder, coins["second", b, bit], COIN_LIMIT, LOW, HIGH)
                    e = e << (b - 2) | coder.raw(b - 2)
            if negative:
                e = -e
        value = rounded + e
        require(channel.low <= value <= channel.high, "a sample out of range")
        x_row.append(value)
        e_row.append(e)
        off.append(tuple(abs(8 * (value - h) - n) for n in p))
        corrected[0] += clamp(8 * value - P, -(1 << 14), 1 << 14)
        corrected[1] += 1
        if corrected[1] == 255:
            corrected[0] >>= 1
            corrected[1] >>= 1
        gain = 640 // (10 + (activity >> sh))
        channel.squares.add(x // BLOCK, features, value - h, gain, sh)
        if alpha and alpha.x[y][x] == 0:
            channel.under = value
    channel.off = off
