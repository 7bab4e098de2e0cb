# SPDX-License-Identifier: MIT
"""SAMPLES, fast bands: fitted predictions in a header, and one stream of tokens for each channel."""

from operator import mul

from coding import Bit, Number, RangeDecoder, Table, Tree
from rans import Distribution, RansDecoder, TOKENS
from wire import Reader, clamp, require

SQUARE = 16
LEVELS = 120
FINE_LEVELS = 18  # from this level on the fraction does not matter


class Model:
    def __init__(self, classes, weights, energy, distributions):
        self.classes, self.weights, self.energy, self.distributions = classes, weights, energy, distributions


def signed(z):
    return -(z + 1 >> 1) if z & 1 else z >> 1


def _model(coder, features, across, down):
    count = coder.raw(3) + 1
    classes = [[0] * across for _ in range(down)]
    if count > 1:
        trees = Table(lambda: Tree(3))
        for y in range(down):
            for x in range(across):
                above = classes[y - 1][x] if y else 0
                left = classes[y][x - 1] if x else 0
                classes[y][x] = trees[above, above == left].decode(coder)
                require(classes[y][x] < count, "an unknown class")
    number = Number()
    weights = []
    for c in range(count):
        before = weights[-1] if c else [0] * features
        weights.append([w + 8 * signed(number.decode(coder)) for w in before])
        require(all(abs(w) <= 16376 for w in weights[-1]), "a weight that is too large")
    energy = [coder.raw(8) for _ in range(8)]

    begins = Table(Bit)
    rest_tree, last_tree = Tree(6), Tree(6)
    bits_trees = Table(lambda: Tree(4))
    low_trees = {1: Table(lambda: Tree(1)), 2: Table(lambda: Tree(2))}
    new = [
        [level == 0 or begins[level >= FINE_LEVELS].decode(coder) for level in range(FINE_LEVELS if fraction else LEVELS)]
        for fraction in range(3)
    ]
    before = None
    distributions = [[], [], []]
    for fraction in range(3):
        for begins_here in new[fraction]:
            if begins_here:
                before = _chances(coder, before, rest_tree, last_tree, bits_trees, low_trees)
                distribution = Distribution(before)
            distributions[fraction].append(distribution)
    return Model(classes, weights, energy, distributions)


def _chances(coder, before, rest_tree, last_tree, bits_trees, low_trees):
    rest, last = rest_tree.decode(coder), last_tree.decode(coder)
    require(rest <= last, "a distribution without its rest")
    chances = [0] * TOKENS
    for t in range(last + 1):
        if t == rest:
            continue
        if before:
            context = 1, before[t].bit_length()
        else:
            context = 0, 0 if t == 0 else 13 if t - 1 == rest else chances[t - 1].bit_length()
        n = bits_trees[context].decode(coder)
        if n:
            low = min(2, n - 1)
            chance = 1
            if low:
                chance = chance << low | low_trees[low][n].decode(coder)
            chances[t] = chance << (n - 1 - low)
    chances[rest] = 4096 - sum(chances)
    require(chances[rest] >= 1, "a distribution that is too large")
    return chances


class Channel:
    def __init__(self, model, stream):
        self.model, self.stream = model, stream
        self.x, self.e = [], []


def decode(data, band):
    require(band.width <= 1 << 17, "a picture that is too wide")
    reader = Reader(data)
    header = RangeDecoder(reader.block())
    across, down = -(-band.width // SQUARE), -(-band.rows // SQUARE)
    channels = []
    lengths = [reader.varint() for _ in band.order]
    for i, length in enumerate(lengths):
        before = max(0, i - band.alpha)
        model = _model(header, (12, 14, 17)[min(2, before)], across, down)
        channels.append(Channel(model, RansDecoder(reader.take(length))))
    header.end()
    reader.end()
    for y in range(band.rows):
        for i in range(len(channels)):
            _row(band, channels, i, y)
    for channel in channels:
        channel.stream.end()
    return [channel.x for channel in channels]


def _right(row, x):
    return row[x] if x < len(row) else row[-1]


def _h(row, x):
    return row[clamp(x, 0, len(row) - 1)]


def _token(stream, distribution):
    t = stream.token(distribution)
    if t < 32:
        return t
    if t < 52:
        b = 5 + (t - 32) // 4
        return 1 << b | (t >> 1 & 1) << (b - 1) | stream.bits(b - 2) << 1 | (t & 1)
    b = t - 42
    low = stream.bits(min(b, 16))
    return 1 << b | (stream.bits(b - 16) << 16 if b > 16 else 0) | low


def _row(band, channels, index, y):
    channel = channels[index]
    model = channel.model
    low, high = band.ranges[index]
    Y = band.first_row + y
    h_rows = band.xhat[index]
    hrow, habove, hbelow = h_rows[Y], h_rows[max(Y - 1, 0)], h_rows[min(Y + 1, len(h_rows) - 1)]
    above = channel.x[y - 1] if y else hrow
    second = channel.x[y - 2] if y > 1 else h_rows[band.first_row]
    zeros = [0] * band.width
    eabove = channel.e[y - 1] if y else zeros
    esecond = channel.e[y - 2] if y > 1 else zeros
    x_row, e_row = [], []
    channel.x.append(x_row)
    channel.e.append(e_row)
    before = 0 if index < band.alpha else index - band.alpha
    colours = [(channels[index - 1 - n], band.xhat[index - 1 - n]) for n in range(min(before, 2))]
    for x in range(band.width):
        h, hW, hE, hN, hS = hrow[x], _h(hrow, x - 1), _h(hrow, x + 1), habove[x], hbelow[x]
        W = x_row[x - 1] if x else above[0]
        WW = x_row[x - 2] if x > 1 else above[0]
        N, NE, NW, NN = above[x], _right(above, x + 1), above[x - 1] if x else second[0], second[x]
        features = [W - h, N - h, NW - h, NE - h, WW - h, NN - h, hW - h, hN - h, hE - h, hS - h]
        if not colours:
            features += [_right(above, x + 2) - h, _right(second, x + 1) - h]
        for n, (other, other_h) in enumerate(colours):
            row = other.x[y]
            o = row[x]
            oabove = other.x[y - 1] if y else other_h[Y]
            features += [o - other_h[Y][x], o - (row[x - 1] if x else oabove[0]), o - oabove[x]]
            if not n:
                features.append(o - _right(row, x + 1))
        weights = model.weights[model.classes[y // SQUARE][x // SQUARE]]
        P = (h << 12) + sum(map(mul, weights, features)) + (1 << 11)
        rounded = clamp(P >> 12, low, high)
        d = P % (1 << 12) - (1 << 11)
        fraction = 3 * (d if d >= 0 else -1 - d) >> 11

        if not colours:
            c = (abs(hE - hW) + abs(hS - hN)) // 2
        else:
            c = abs(colours[0][0].e[y][x])
            if len(colours) > 1:
                c += abs(colours[1][0].e[y][x]) // 2
        around = (
            abs(e_row[x - 1]) if x else 0, abs(eabove[x]), abs(eabove[x - 1]) if x else 0,
            abs(eabove[x + 1]) if x + 1 < band.width else 0, abs(e_row[x - 2]) if x > 1 else 0, abs(esecond[x]),
            c, 1,
        )
        v = sum(map(mul, model.energy, around)) + 8
        b = v.bit_length() - 1
        level = min(LEVELS - 1, 4 * (b - 3) + (v >> (b - 2)) % 4)
        if level >= FINE_LEVELS:
            fraction = 0
        e = signed(_token(channel.stream, model.distributions[fraction][level]))
        if d < 0:
            e = -e
        value = rounded + e
        require(low <= value <= high, "a sample out of range")
        x_row.append(value)
        e_row.append(e)
