# SPDX-License-Identifier: MIT
"""MODEL PAIRS and THE DECRYPTER: latents to 8-bit planes, in integers."""

from operator import mul
import struct

from wire import H, Reader, clamp, require


class _Weights(Reader):
    def array(self, code, *shape):
        """Nested lists, the last index fastest."""
        if len(shape) == 1:
            return list(struct.unpack("<%d%s" % (shape[0], code), self.take(shape[0] * struct.calcsize(code))))
        return [self.array(code, *shape[1:]) for _ in range(shape[0])]


def _flat(value):
    return [n for item in value for n in _flat(item)] if isinstance(value, list) else [value]


def _within(values, low, high, what):
    require(all(low <= n <= high for n in _flat(values)), "weights out of bounds: " + what)


class Pair:
    def __init__(self, file):
        reader = Reader(file)
        require(reader.take(8) == b"LETHPAIR", "no model pair")
        require(reader.u16() == 1, "a newer pair")
        require(reader.u16() == 1, "a newer architecture")
        weights = _Weights(reader.take(reader.u32()))
        require(reader.take(32) == H(file[:-32]), "a damaged pair")
        reader.end()
        self.id = H(file)[:16]

        def requant():
            mult, bias = weights.array("i", 40), weights.array("i", 40)
            _within(mult, 1, 1 << 30, "requant")
            _within(bias, -(1 << 30), 1 << 30, "requant")
            return mult, bias

        weights.array("h", 64, 192)  # the Encrypter, of no use here but for its bounds
        _within(weights.array("i", 64), -(1 << 28), 1 << 28, "bias")
        _within(weights.array("b", 40, 192), -63, 63, "conv1")
        requant()
        _within(weights.array("b", 40, 9, 40), -63, 63, "conv2")
        requant()
        _within(weights.array("b", 64, 40), -63, 63, "conv3")
        _within(weights.array("h", 64), -6700, 6700, "mult")
        _within(weights.u8(), 3, 24, "shift")
        weights.array("I", 16, 64)
        self.rate = weights.array("B", 4)
        _within(self.rate, 0, 15, "rate")
        _within(weights.array("H", 4), 0, 256, "dither")
        _within(weights.array("H", 4), 0, 1024, "noise")

        self.linear = weights.array("h", 192, 64)
        self.gain = weights.array("I", 16, 64)
        self.bits = weights.array("B", 16)
        _within(self.bits, 1, 14, "bits")
        self.bias = weights.array("i", 192)
        _within(self.bias, -(1 << 27), 1 << 27, "bias")
        self.conv1 = weights.array("b", 40, 9 * 68)
        _within(self.conv1, -63, 63, "conv1")
        self.requant1 = [requant() for _ in range(16)]
        self.conv2 = weights.array("b", 40, 9 * 40)
        _within(self.conv2, -63, 63, "conv2")
        self.requant2 = [requant() for _ in range(16)]
        self.conv3 = weights.array("b", 192, 40)
        _within(self.conv3, -63, 63, "conv3")
        self.mult = weights.array("h", 16, 192)
        _within(self.mult, -6700, 6700, "mult")
        self.shift = weights.array("B", 16)
        _within(self.shift, 3, 24, "shift")
        weights.end()

    def prepared(self, rate):
        W = [[(n * g + (1 << 15)) >> 16 for n, g in zip(row, self.gain[rate])] for row in self.linear]
        _within(W, -16384, 16384, "linear")
        bits = self.bits[rate]
        B = [(n >> (16 - bits)) + (128 << bits) + (1 << (bits - 1)) for n in self.bias]
        return W, B


def _requant(sums, requant):
    out = []
    for a, mult, bias in zip(sums, *requant):
        a = min(max(a + bias, 0), ((1 << 31) - 1 - (1 << 22)) // mult)
        out.append(min(127, (a * mult + (1 << 22)) >> 23))
    return out


def _conv3x3(cells, weights, requant):
    """Cells outside the picture are the nearest cell."""
    down, across = len(cells), len(cells[0])
    out = []
    for y in range(down):
        out.append([])
        for x in range(across):
            taps = []
            for ty in (y - 1, y, y + 1):
                for tx in (x - 1, x, x + 1):
                    taps += cells[clamp(ty, 0, down - 1)][clamp(tx, 0, across - 1)]
            out[y].append(_requant([sum(map(mul, row, taps)) for row in weights], requant))
    return out


def decrypt(pair, latents):
    """Three planes (Y, Cb, Cr) as lists of rows, of the latents' width and height."""
    rate = latents.rate
    W, B = pair.prepared(rate)
    bits = pair.bits[rate]
    mult, shift = pair.mult[rate], pair.shift[rate]
    cells = []
    for row in latents.values:
        cells.append([])
        for z in row:
            u = [clamp(n, -63, 63) + 64 for n in z]
            u += [clamp(z[0] - clamp(z[0], -63, 63), -63, 63) + 64, 64, 64, 64]
            cells[-1].append(u)
    hidden = _conv3x3(cells, pair.conv1, pair.requant1[rate])
    hidden = _conv3x3(hidden, pair.conv2, pair.requant2[rate])
    planes = [[bytearray() for _ in range(8 * len(cells))] for _ in range(3)]
    for y, row in enumerate(latents.values):
        for x, z in enumerate(row):
            h = hidden[y][x]
            for i in range(192):
                branch = sum(map(mul, pair.conv3[i], h)) * mult[i] >> shift
                v = clamp((sum(map(mul, W[i], z)) + B[i] + branch) >> bits, 0, 255)
                planes[i // 64][8 * y + i % 64 // 8].append(v)
    return [[bytes(row[: latents.width]) for row in plane[: latents.height]] for plane in planes]
