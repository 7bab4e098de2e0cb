# SPDX-License-Identifier: MIT
"""DEFLATE DESCRIPTIONS, optimising: tokens as ranks among the cheapest ways to the end of the block."""

from coding import Bit, Number, Table, Tree
from wire import require
from deflate_zlib import Block
import deflate_trees as trees_of

WINDOW = 32768
SEGMENT, AHEAD = 32768, 2048
UNIT = 16
NEVER, CAP = 1 << 25, 1 << 28
RANKS, MARGINS = 8, 16


class Finder:
    """For each position in turn the nearest match of each length, by binary trees over the strings of the window."""

    def __init__(self, data):
        self.data = data
        self.root = {}
        self.child = {}  # by position % WINDOW: [smaller, larger]

    def matches(self, p):
        data = self.data
        most = min(258, len(data) - p)
        found = []
        if most < 3:
            return found
        h = (data[p] | data[p + 1] << 8 | data[p + 2] << 16) * 0x9E3779B1 % (1 << 32) >> 16
        node = self.root.get(h)
        self.root[h] = p
        slots = self.child[p % WINDOW] = [None, None]
        smaller, larger = (slots, 0), (slots, 1)
        best, same_smaller, same_larger, visits = 2, 0, 0, 512
        while node is not None and p - node <= WINDOW and visits:
            visits -= 1
            lost = p - node == WINDOW  # its children were where those of p are now
            n = 0 if lost else min(same_smaller, same_larger)
            while n < most and data[node + n] == data[p + n]:
                n += 1
            if n > best:
                found.append((n, p - node))
                best = n
            if lost:
                break
            children = self.child[node % WINDOW]
            if n == most:
                smaller[0][smaller[1]], larger[0][larger[1]] = children
                return found
            if data[node + n] < data[p + n]:
                smaller[0][smaller[1]] = node
                smaller = children, 1
                node = children[1]
                same_smaller = n
            else:
                larger[0][larger[1]] = node
                larger = children, 0
                node = children[0]
                same_larger = n
        smaller[0][smaller[1]] = larger[0][larger[1]] = None
        return found


def _margin_class(margin):
    if margin < 4:
        return margin
    log = margin.bit_length() - 1
    return min(MARGINS - 1, 2 * log + (margin >> (log - 1) & 1))


class Model:
    def __init__(self, coder, data, padding):
        self.coder, self.data, self.padding = coder, data, padding
        self.finder = Finder(data)
        self.found = []  # matches of each position so far
        self.last = trees_of.Trees([0] * 286, [0] * 30)
        self.hit = 0
        self.kind, self.final, self.bytes = Tree(2), [Bit(), Bit()], Number()
        self.trees = trees_of.Model(coder)
        self.rank = Table(Bit)
        self.is_literal, self.is_nearest = Bit(), Bit()
        self.length, self.distance = Tree(8), Number()

    def block(self, at):
        block, left = Block(), len(self.data) - at
        block.start = at
        block.kind = self.kind.decode(self.coder)
        require(block.kind <= 2, "an unknown kind of block")
        block.bytes = self.bytes.decode(self.coder)
        require(block.bytes <= left, "a block that is too long")
        block.final = self.final[block.bytes == left].decode(self.coder)
        if block.kind == 0:
            require(block.bytes <= 65535, "a stored block that is too long")
            block.padding = self.padding.decode()
            self._find(at + block.bytes)
            return block, []
        lit, dist = trees_of.FIXED_LIT, trees_of.FIXED_DIST
        if block.kind == 2:
            block.trees = self.last = self.trees.decode(self.last)
            lit, dist = block.trees.lit, block.trees.dist
        self._set_costs(lit + [0] * 286, dist + [0] * 30)
        return block, self._tokens(at, at + block.bytes)

    def _set_costs(self, lit, dist):
        def cost(bits, extra=0):
            return (bits + extra) * UNIT if bits else NEVER

        self.literal_cost = [cost(bits) for bits in lit[:256]]
        self.length_cost = [0] * 3
        for length in range(3, 259):
            symbol = trees_of.LENGTH_SYMBOL[length]
            self.length_cost.append(cost(lit[symbol], trees_of.LENGTH_EXTRA[symbol - 257]))
        self.distance_cost = [cost(bits, extra) for bits, extra in zip(dist, trees_of.DISTANCE_EXTRA)]

    def _find(self, end):
        while len(self.found) < end:
            self.found.append(self.finder.matches(len(self.found)))

    def _ways(self, p, stop):
        """(cost, token) of every way on from p."""
        yield self.literal_cost[self.data[p]] + self.to_end[p + 1], (self.data[p], 0)
        length = 3
        for longest, distance in self.found[p]:
            cost = self.distance_cost[trees_of.distance_symbol(distance)]
            while length <= min(longest, stop - p):
                yield cost + self.length_cost[length] + self.to_end[p + length], (length, distance)
                length += 1

    def _tokens(self, at, end):
        tokens, ends = [], at
        while at < end:
            if at >= ends:
                stop = min(end, at + SEGMENT + AHEAD)
                self._find(stop)
                self.to_end = {stop: 0}
                for p in range(stop - 1, at - 1, -1):
                    self.to_end[p] = min(CAP, min(cost for cost, _ in self._ways(p, stop)))
                ends = end if stop == end else at + SEGMENT
            token = self._token(at, stop)
            tokens.append(token)
            at += token[0] if token[1] else 1
            require(at <= end, "a token that is longer than its block")
        return tokens

    def _token(self, p, stop):
        choices = sorted(self._ways(p, stop), key=lambda way: way[0])[:RANKS]
        choices = [way for way in choices if way[0] < NEVER]
        for r, (cost, token) in enumerate(choices):
            margin = choices[r + 1][0] - cost if r + 1 < len(choices) else (1 << 32) - 1
            if self.rank[r, _margin_class(margin), token[1] == 0, self.hit].decode(self.coder):
                self.hit = int(r == 0)
                return token
        self.hit = 0
        if self.is_literal.decode(self.coder):
            return self.data[p], 0
        length = 3 + self.length.decode(self.coder)
        nearest = next((distance for longest, distance in self.found[p] if longest >= length), 0)
        distance = nearest
        if not self.is_nearest.decode(self.coder):
            distance = 1 + self.distance.decode(self.coder)
        require(1 <= distance <= min(32768, p), "an impossible match")
        return length, distance
