# SPDX-License-Identifier: MIT
"""LATENTS: 64 for each cell of 8 by 8 pixels."""

from coding import Mixer, Number, RangeDecoder, Table, coin, decode_coin
from wire import clamp, require

COIN_LIMIT = 160
STEP = 40
LOW, HIGH = 32, 65504
_CLASSES = (3, 5, 7, 10, 14, 21, 39, 89)


def class_of(n):
    if n <= 3:
        return n
    return 3 + sum(n > top for top in _CLASSES)


CLASS = [class_of(n) for n in range(254 * 8)]


class Latents:
    """values[y][x] are the 64 latents of a cell."""

    def __init__(self, width, height, rate, values):
        self.width, self.height, self.rate, self.values = width, height, rate, values


def decode(reader, width, height):
    require((reader.varint(), reader.varint()) == (width, height), "latents of another size")
    rate = reader.u8()
    require(rate < 16, "a rate above 15")
    across, down = -(-width // 8), -(-height // 8)
    band_rows = 1 + 16383 // across
    rows = [min(band_rows, down - y) for y in range(0, down, band_rows)]
    lengths = [reader.varint() for _ in rows]
    values = []
    for count, length in zip(rows, lengths):
        values += _band(reader.take(length), across, count)
    return Latents(width, height, rate, values)


def _predict(rows, x, y, k):
    if not y:
        return rows[y][x - 1][k] if x else 0
    above = rows[y - 1][x][k]
    if not x:
        return above
    left = rows[y][x - 1][k]
    return clamp(left + above - rows[y - 1][x - 1][k], min(left, above), max(left, above))


def _band(data, across, down):
    require(len(data) >= 8, "a band without its head")
    predicted = int.from_bytes(data[:8], "little")
    coder = RangeDecoder(data[8:])
    mixer = Mixer(coder, COIN_LIMIT, LOW, HIGH)
    zero_weights = Table(lambda: [19660] * 6)
    unary_weights = Table(lambda: [26214] * 3)
    coins = Table(coin)
    escape = Number()
    none = [0] * 64
    groups = {}
    coded = {}  # the coded values by (x, y)
    latents = []

    for y in range(down):
        latents.append([])
        for x in range(across):
            near_cells = [
                coded.get(at, none)
                for at in ((x - 1, y), (x, y - 1), (x - 1, y - 1), (x + 1, y - 1), (x - 2, y), (x, y - 2))
            ]
            tree = groups.get((x - 1, y), 0), groups.get((x, y - 1), 0)
            if decode_coin(coder, coins["g", tree, 15], COIN_LIMIT, LOW, HIGH):
                g = 8
            else:
                node = 1
                for _ in range(3):
                    node = node << 1 | decode_coin(coder, coins["g", tree, node], COIN_LIMIT, LOW, HIGH)
                g = node - 8
            groups[x, y] = g
            v = [0] * 64
            for k in range(8 * g):
                left, above = near_cells[0][k], near_cells[1][k]
                L, T, TL, TR, LL, TT = (abs(cell[k]) for cell in near_cells)
                a, b, c = (abs(v[k - i]) if k >= i else 0 for i in (1, 2, 3))
                near = CLASS[2 * L + 2 * T + TL + TR]
                wide = CLASS[2 * L + 2 * T + TL + TR + LL + TT + min(a, 2)]
                inside = CLASS[2 * a + 2 * b + c]
                i = min(inside, 7)
                if not mixer.decode(
                    [
                        coins[0, k, near],
                        coins[1, k, 27 * min(L, 2) + 9 * min(T, 2) + 3 * min(TL, 2) + min(TR, 2)],
                        coins[2, k, i],
                        coins[3, near, i, k // 8],
                        coins[4, k, g - 1, min(a, 2)],
                        coins[5, k, wide],
                    ],
                    zero_weights[k],
                    STEP,
                ):
                    continue
                sign = [0 if n == 0 else 1 if n > 0 else 2 for n in (left, above)]
                negative = decode_coin(coder, coins["s", k, 3 * sign[0] + sign[1]], COIN_LIMIT, LOW, HIGH)
                n = 1
                while n <= 18 and mixer.decode(
                    [coins[6, near, n, inside], coins[7, k, n], coins[8, k, wide, min(n - 1, 2)]],
                    unary_weights[n],
                    STEP,
                ):
                    n += 1
                if n == 19:
                    n += escape.decode(coder)
                require(n <= 254, "a latent that is too large")
                v[k] = -n if negative else n
            coded[x, y] = v
            cell = list(v)
            latents[y].append(cell)
            for k in range(64):
                if predicted >> k & 1:
                    cell[k] += _predict(latents, x, y, k)
            require(all(-127 <= n <= 127 for n in cell), "a latent that is too large")
    return latents
