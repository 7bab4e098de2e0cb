# SPDX-License-Identifier: MIT
"""COEFFICIENTS: the quantised coefficients of a JPEG given xhat."""

from operator import mul

from coding import Mixer, RangeDecoder, Table, coin, decode_coin
from samples_strong import l, s, toward_zero
from wire import clamp, require

COIN_LIMIT = 250
LOW, HIGH = 16, 65520
ZIGZAG = sorted(range(64), key=lambda k: (k // 8 + k % 8, (k // 8 if (k // 8 + k % 8) % 2 else k % 8)))
INNER = [k for k in ZIGZAG if k // 8 and k % 8]
_COSINES = [2048, 2009, 1892, 1703, 1448, 1138, 784, 400]


class Component:
    def __init__(self, blocks_w, blocks_h, v, quant, xhat):
        self.blocks_w, self.blocks_h, self.v = blocks_w, blocks_h, v
        self.quant = [q or 1 for q in quant]  # natural order
        self.xhat = xhat  # rows of samples, 8 blocks_h by 8 blocks_w
        self.coefficients = {}  # (column, row) of a block: 64 values in natural order


def _cosine(u, x):
    """cos((2x + 1) u pi / 16) / 2 in 2^-12 (1 / sqrt(8) for u = 0)."""
    if u == 0:
        return 1448
    n = (2 * x + 1) * u % 32
    n = min(n, 32 - n)
    return 0 if n == 8 else _COSINES[n] if n < 8 else -_COSINES[16 - n]


_DCT = [[_cosine(u, x) for x in range(8)] for u in range(8)]


def forward(xhat, bx, by):
    """The DCT of a block, in eighths."""
    rows = []
    for y in range(8):
        row = [n - 128 for n in xhat[8 * by + y][8 * bx : 8 * bx + 8]]
        rows.append([(sum(map(mul, c, row)) + 128) >> 8 for c in _DCT])
    columns = list(zip(*rows))
    return [(sum(map(mul, _DCT[v], columns[u])) + (1 << 12)) >> 13 for v in range(8) for u in range(8)]


class Left:
    """What a coded block leaves for its neighbours."""

    def __init__(self):
        self.F = [0] * 64
        self.n, self.e = 0, [0, 0]
        self.R, self.B = [0] * 8, [0] * 8
        self.off = self.miss = 0
        self.error = [0, 0, 0]


NOTHING = Left()


class State:
    """What components share when they are the first, the second, or others."""

    def __init__(self):
        self.coins = Table(coin)
        self.weights = {}


class Weights:
    def __init__(self, models):
        self.w = [81920 // models] * models
        self.seen = 0


class BandDecoder:
    def __init__(self, data, effort):
        self.coder = RangeDecoder(data)
        self.mixer = Mixer(self.coder, COIN_LIMIT, LOW, HIGH)
        self.models = 5 if effort else 3
        self.states = Table(State)

    def mixed(self, coins, key):
        weights = self.state.weights.get(key)
        if weights is None:
            weights = self.state.weights[key] = Weights(len(coins))
        step = 12 + 1760 // (weights.seen + 16)
        weights.seen = min(weights.seen + 1, 4096)
        return self.mixer.decode(coins, weights.w, step)

    def count(self, kind, bits, contexts):
        coins = self.state.coins
        node = 1
        for _ in range(bits):
            node = node << 1 | self.mixed(
                [coins["count", kind, i, c, node] for i, c in enumerate(contexts)], ("count", kind, node)
            )
        return node - (1 << bits)

    def value(self, kind, contexts, signs, weights, sign_weights, h, certain):
        """certain: known not to be zero."""
        coins = self.state.coins
        contexts = contexts[: self.models]

        def decide(slot):
            return self.mixed(
                [coins[kind, i, c, slot] for i, c in enumerate(contexts)], ("value", kind, weights, slot)
            )

        if not certain and not decide(0):
            return 0
        negative = self.mixed([coins["sign", kind, i, c] for i, c in enumerate(signs)], ("sign", kind, sign_weights))
        b = 0
        while b < 15:
            if b < 7:
                more = decide(1 + b)
            else:
                more = decode_coin(self.coder, coins["far", kind, b], COIN_LIMIT, LOW, HIGH)
            if not more:
                break
            b += 1
        magnitude = 1
        if b:
            bit = decode_coin(self.coder, coins["first", kind, b, h], COIN_LIMIT, LOW, HIGH)
            magnitude = 2 | bit
            if b > 1:
                magnitude = magnitude << 1 | decode_coin(
                    self.coder, coins["second", kind, b, bit], COIN_LIMIT, LOW, HIGH
                )
                magnitude = magnitude << (b - 2) | self.coder.raw(b - 2)
        return -magnitude if negative else magnitude


def match(w, q):
    return clamp(toward_zero(1448 * w, 128 * q), -(1 << 18), 1 << 18)


def g(v):
    return 0 if v < 0 else 2 if v > 0 else 1


def decode(reader, components):
    """Fills the components' coefficients; takes reader to its end."""
    effort = reader.u8()
    require(effort <= 1, "an unknown effort")
    first, rows = reader.varint(), reader.varint()
    M = max(-(-c.blocks_h // c.v) for c in components)
    row_blocks = sum(c.v * c.blocks_w for c in components)
    if rows:
        require(first < M and first * row_blocks >= 1024 and rows * row_blocks >= 1024, "bands that are too small")
    else:
        require(first == M, "bands that do not cover the picture")
    starts = [0] + (list(range(first, M, rows)) if rows else [])
    lengths = [reader.varint() for _ in starts]
    for start, end, length in zip(starts, starts[1:] + [M], lengths):
        band = BandDecoder(reader.take(length), effort)
        before = None
        for i, component in enumerate(components):
            band.state = band.states[min(i, 2)]
            _component(band, component, before, start * component.v, min(end * component.v, component.blocks_h))
            before = component
        band.coder.end()
    reader.end()


def _component(band, component, before, top, bottom):
    together = before and (before.blocks_w, before.blocks_h) == (component.blocks_w, component.blocks_h)
    left_behind = {}
    for y in range(top, bottom):
        for x in range(component.blocks_w):
            T = before.coefficients[x, y] if together else NOTHING.F
            around = [left_behind.get(at) for at in ((x - 1, y), (x, y - 1), (x - 1, y - 1))]
            block = _block(band, component, x, y, T, *around)
            left_behind[x, y] = block
            component.coefficients[x, y] = block.F


def _block(band, component, bx, by, T, left, above, corner):
    quant = component.quant
    dct = forward(component.xhat, bx, by)
    X = [(d * ((1 << 16) // q) + (1 << 15)) >> 16 for d, q in zip(dct, quant)]
    exist = left is not None, above is not None
    left, above, corner = left or NOTHING, above or NOTHING, corner or NOTHING
    L, A, C = left.F, above.F, corner.F
    out = Left()
    out.F = F = [0] * 64
    rows, columns = [0] * 8, [0] * 8

    def dequantised(k):
        return clamp(F[k] * quant[k], -(1 << 24), 1 << 24)

    # The inner 7x7
    x = sum(abs(X[k]) >= 4 for k in INNER)
    t = sum(T[k] != 0 for k in INNER)
    m = (left.n + above.n + 1) // 2 if all(exist) else left.n + above.n
    n = out.n = band.count(
        "inner", 6,
        (m + 50 * sum(exist), 8 * x + l(m, 7), 12 * l(left.n, 11) + l(above.n, 11), 8 * t + l(m, 7)),
    )
    require(n <= 49, "too many coefficients")
    c = n
    for i, k in enumerate(INNER):
        if not c:
            break
        u, v = k % 8, k // 8
        near = 6 * (abs(L[k]) + abs(A[k])) + 4 * abs(C[k])
        N, h, p = l(near >> 2, 11), l(abs(X[k]) >> 2, 15), l(c, 9)
        j = (2 * abs(F[k - 1]) if u > 1 else 0) + (2 * abs(F[k - 8]) if v > 1 else 0)
        j = l(j + (abs(F[k - 9]) if u > 1 and v > 1 else 0), 7)
        F[k] = band.value(
            "inner",
            (
                12 * (10 * i + p) + N,
                8 * (16 * i + h) + l(near >> 2, 7),
                49 * c + i,
                10 * (8 * i + j) + p,
                8 * (16 * (4 * N + l(abs(T[k]), 3)) + h) + j,
            ),
            (
                17 * i + s(X[k], 8),
                9 * i + 3 * g(L[k]) + g(A[k]),
                3 * (49 * g(T[k]) + i) + g(toward_zero(X[k], 4)),
            ),
            p, i, h, c == 49 - i,
        )
        if F[k]:
            c -= 1
            d = dequantised(k)
            out.R[v] += -d if u % 2 else d
            out.B[u] += -d if v % 2 else d
            rows[v] += d
            columns[u] += d

    # The first column, then the first row
    for edge in (0, 1):
        places = [0] + [8 * i if edge == 0 else i for i in range(1, 8)]
        x = sum(abs(X[k]) >= 4 for k in places[1:])
        t = sum(T[k] != 0 for k in places[1:])
        a, b = left.e[edge], above.e[edge]
        m = (a + b + 1) // 2
        y = l(n, 7)
        c = out.e[edge] = band.count(
            edge, 3, (8 * n + m, 64 * x + 8 * a + b, 8 * (8 * y + x) + (t if edge == 0 else out.e[0]), 8 * (8 * t + m) + y)
        )
        for i in range(1, 8):
            if not c:
                break
            k = places[i]
            near = 6 * (abs(L[k]) + abs(A[k])) + 4 * abs(C[k])
            if edge == 0:
                w = match(left.R[i] - rows[i], quant[k]) if exist[0] else 0
            else:
                w = match(above.B[i] - columns[i], quant[k]) if exist[1] else 0
            N, M, h = l(near >> 1, 11), l(abs(w) >> 2, 15), l(abs(X[k]) >> 2, 15)
            F[k] = band.value(
                edge,
                (
                    8 * (16 * i + M) + c,
                    12 * (16 * i + h) + N,
                    16 * (16 * i + M) + h,
                    8 * (12 * i + N) + c,
                    64 * (5 * (i - 1) + l(abs(T[k]), 4)) + 8 * l(n, 7) + c,
                ),
                (
                    25 * i + s(toward_zero(w, 2), 12),
                    17 * i + s(X[k], 8),
                    9 * (9 * i + s(toward_zero(w, 4), 4)) + s(toward_zero(X[k], 2), 4),
                ),
                l(n, 7), i, h, c == 8 - i,
            )
            if F[k]:
                c -= 1
                d = dequantised(k)
                if edge == 0:
                    out.R[i] += toward_zero(181 * d, 256)
                    out.B[0] += -d if i % 2 else d
                    columns[0] += d
                else:
                    out.B[i] += toward_zero(181 * d, 256)
                    out.R[0] += -d if i % 2 else d
                    rows[0] += d

    # DC
    q = quant[0]
    off = toward_zero(left.off + above.off, 2) if all(exist) else left.off + above.off
    p2 = X[0] + off
    p = (
        match(left.R[0] - rows[0], q) if exist[0] else p2,
        match(above.B[0] - columns[0], q) if exist[1] else p2,
        p2,
    )
    W = [(1 << 34) // min(1 << 16, a + b + 8) ** 2 + 1 for a, b in zip(left.error, above.error)]
    P = toward_zero(sum(map(mul, p, W)), sum(W))
    r = clamp((P + 4) >> 3, -32767, 32767)
    D = l((max(p) - min(p)) >> 1, 19)
    m = l(left.miss + above.miss, 15)
    half = toward_zero(p2 - P, 2)
    coded = band.value(
        "DC",
        (D, 8 * m + l(n, 7), 16 * D + m, 8 * s(half, 7) + m // 2, 20 * l(out.e[0] + out.e[1], 6) + D),
        (
            s(half, 9),
            15 * s(toward_zero(p[0] - P, 2), 7) + s(toward_zero(p[1] - P, 2), 7),
            (P + 4) % 8,
        ),
        m, 0, m, False,
    )
    value = (r + coded + (1 << 15)) % (1 << 16) - (1 << 15)
    F[0] = value
    d = toward_zero(181 * dequantised(0), 256)
    out.R[0] += d
    out.B[0] += d
    out.miss = abs(coded)
    out.off = clamp(8 * F[0] - X[0], -(1 << 20), 1 << 20)
    out.error = [abs(8 * F[0] - n) for n in p]
    require(all(-(1 << 15) <= n < 1 << 15 for n in F), "a coefficient that is too large")
    return out
