# SPDX-License-Identifier: MIT
"""Deflate's symbols and codes (RFC 1951), and zlib's way of building codes; headers as differences from foreseen ones."""

from coding import Bit, Table, Tree
from wire import Malformed, require

LENGTH_EXTRA = [0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0]
DISTANCE_EXTRA = [0] * 4 + [n for n in range(1, 14) for _ in range(2)]
CLEN_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
OP_EXTRA = {16: 2, 17: 3, 18: 7}


def _bases(first, extra):
    out = [first]
    for bits in extra[:-1]:
        out.append(out[-1] + (1 << bits))
    return out


LENGTH_BASE = _bases(3, LENGTH_EXTRA)
LENGTH_BASE[28] = 258
DISTANCE_BASE = _bases(1, DISTANCE_EXTRA)
LENGTH_SYMBOL = [0] * 259
for symbol in range(29):
    for length in range(LENGTH_BASE[symbol], 259):
        LENGTH_SYMBOL[length] = 257 + symbol


def distance_symbol(distance):
    if distance <= 4:
        return distance - 1
    log = (distance - 1).bit_length() - 1
    return 2 * log + (distance - 1 >> (log - 1) & 1)


FIXED_LIT = [8] * 144 + [9] * 112 + [7] * 24 + [8] * 8
FIXED_DIST = [5] * 32


class Trees:
    """The header of a dynamic block; ops are (symbol, extra)."""

    def __init__(self, lit=(), dist=(), ops=(), clen=(), clens=0):
        self.lit, self.dist, self.ops, self.clen, self.clens = list(lit), list(dist), list(ops), list(clen), clens


def count(tokens):
    """tokens are (length, distance), a literal is (byte, 0)."""
    lit, dist = [0] * 286, [0] * 30
    for length, distance in tokens:
        if distance:
            lit[LENGTH_SYMBOL[length]] += 1
            dist[distance_symbol(distance)] += 1
        else:
            lit[length] += 1
    lit[256] = 1
    return lit, dist


def lengths(freq, most):
    """zlib's code lengths for counts, up to the highest symbol that has a code."""
    weight = {i: n for i, n in enumerate(freq) if n}
    depth = {}
    heap = list(weight)
    highest = heap[-1] if heap else -1
    while len(heap) < 2:
        extra = highest + 1 if highest < 2 else 0
        heap.append(extra)
        weight[extra] = 1
        highest = max(highest, extra)
    depth = dict.fromkeys(weight, 0)

    def lighter(n, m):
        return (weight[n], depth[n]) <= (weight[m], depth[m])

    def sift(hole):
        node, child = heap[hole - 1], 2 * hole
        while child <= len(heap):
            if child < len(heap):
                right, left = heap[child], heap[child - 1]
                if lighter(right, left):
                    child += 1
            if lighter(node, heap[child - 1]):
                break
            heap[hole - 1] = heap[child - 1]
            hole, child = child, 2 * child
        heap[hole - 1] = node

    for i in range(len(heap) // 2, 0, -1):
        sift(i)
    order, parent, new = [], {}, len(freq)
    while len(heap) > 1:
        first = heap[0]
        heap[0] = heap[-1]
        heap.pop()
        sift(1)
        second = heap[0]
        order += [first, second]
        weight[new] = weight[first] + weight[second]
        depth[new] = max(depth[first], depth[second]) + 1
        parent[first] = parent[second] = new
        heap[0] = new
        new += 1
        sift(1)
    order.append(heap[0])

    length = {order[-1]: 0}
    per_length = [0] * (most + 1)
    overflow = 0
    for n in reversed(order[:-1]):
        bits = length[parent[n]] + 1
        if bits > most:
            bits = most
            overflow += 1
        length[n] = bits
        if n < len(freq):
            per_length[bits] += 1
    if overflow:
        while overflow > 0:
            bits = most - 1
            while not per_length[bits]:
                bits -= 1
            per_length[bits] -= 1
            per_length[bits + 1] += 2
            per_length[most] -= 1
            overflow -= 2
        leaves = iter(n for n in order if n < len(freq))
        for bits in range(most, 0, -1):
            for _ in range(per_length[bits]):
                length[next(leaves)] = bits
    return [length.get(i, 0) for i in range(highest + 1)]


def describe(values):
    """The run lengths that zlib sends for code lengths."""
    ops, previous, i = [], None, 0
    while i < len(values):
        value, run = values[i], 1
        most = 138 if value == 0 else 6 if value == previous else 7
        while run < most and i + run < len(values) and values[i + run] == value:
            run += 1
        i += run
        if value == 0 and run >= 11:
            ops.append((18, run - 11))
        elif value == 0 and run >= 3:
            ops.append((17, run - 3))
        elif value and run >= (3 if value == previous else 4):
            if value != previous:
                ops.append((value, 0))
                run -= 1
            ops.append((16, run - 3))
        else:
            ops += [(value, 0)] * run
        previous = value
    return ops


def clens(ops):
    freq = [0] * 19
    for op, _ in ops:
        freq[op] += 1
    clen = lengths(freq, 7)
    clen += [0] * (19 - len(clen))
    number = 19
    while number > 4 and not clen[CLEN_ORDER[number - 1]]:
        number -= 1
    return clen, number


def build(lit_freq, dist_freq):
    trees = Trees(lengths(lit_freq, 15), lengths(dist_freq, 15))
    trees.ops = describe(trees.lit) + describe(trees.dist)
    trees.clen, trees.clens = clens(trees.ops)
    return trees


def symbol_bits(lit_freq, dist_freq, lit, dist):
    bits = sum(n * lit[i] for i, n in enumerate(lit_freq) if n)
    bits += sum(n * LENGTH_EXTRA[i - 257] for i, n in enumerate(lit_freq) if n and i > 256)
    return bits + sum(n * (dist[i] + DISTANCE_EXTRA[i]) for i, n in enumerate(dist_freq) if n)


def fixed_bits(lit_freq, dist_freq):
    return symbol_bits(lit_freq, dist_freq, FIXED_LIT, FIXED_DIST)


def dynamic_bits(lit_freq, dist_freq, trees):
    bits = symbol_bits(lit_freq, dist_freq, trees.lit, trees.dist) + 14 + 3 * trees.clens
    return bits + sum(trees.clen[op] + OP_EXTRA.get(op, 0) for op, _ in trees.ops)


class Model:
    """Reads headers given foreseen ones."""

    def __init__(self, coder):
        self.coder = coder
        self.same = [Bit(), Bit(), Bit()]
        self.counts = [Tree(5), Tree(5), Tree(4)]
        self.length = Table(lambda: Tree(4))
        self.op = Table(lambda: Tree(5))
        self.extra = {op: Tree(bits) for op, bits in OP_EXTRA.items()}
        self.clen = Table(lambda: Tree(3))

    def _lengths(self, foreseen, n):
        out, before = [], 0
        for i in range(n):
            before = self.length[foreseen[i] if i < len(foreseen) else 0, before].decode(self.coder)
            out.append(before)
        return out

    def _ops(self, values):
        ops, n = [], 0
        while n < len(values):
            op = self.op[values[n]].decode(self.coder)
            require(op <= 18, "an unknown symbol of code lengths")
            extra = self.extra[op].decode(self.coder) if op >= 16 else 0
            ops.append((op, extra))
            n += 1 if op < 16 else extra + (11 if op == 18 else 3)
            if n > len(values):
                raise Malformed("code lengths that are too many")
        return ops

    def decode(self, foreseen):
        if self.same[0].decode(self.coder):
            trees = Trees(foreseen.lit, foreseen.dist)
        else:
            lits = 257 + self.counts[0].decode(self.coder)
            dists = 1 + self.counts[1].decode(self.coder)
            trees = Trees(self._lengths(foreseen.lit, lits), self._lengths(foreseen.dist, dists))
        if self.same[1].decode(self.coder):
            trees.ops = describe(trees.lit) + describe(trees.dist)
        else:
            trees.ops = self._ops(trees.lit + trees.dist)
        clen, number = clens(trees.ops)
        if self.same[2].decode(self.coder):
            trees.clen, trees.clens = clen, number
        else:
            trees.clens = 4 + self.counts[2].decode(self.coder)
            require(trees.clens <= 19, "too many lengths of code lengths")
            trees.clen = [0] * 19
            for symbol in CLEN_ORDER[: trees.clens]:
                trees.clen[symbol] = self.clen[clen[symbol]].decode(self.coder)
        return trees
