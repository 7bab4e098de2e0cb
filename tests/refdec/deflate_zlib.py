# SPDX-License-Identifier: MIT
"""DEFLATE DESCRIPTIONS, like zlib: what its matchers would emit, and blocks as it would cut them."""

from coding import Bit, Number, Tree
from wire import require
import deflate_trees as trees_of

# good, lazy, nice, chain by level; levels 1 to 3 are greedy
TUNING = (
    None, (4, 4, 8, 4), (4, 5, 16, 8), (4, 6, 32, 32), (4, 4, 16, 16), (8, 16, 32, 32), (8, 16, 128, 128),
    (8, 32, 128, 256), (32, 128, 258, 1024), (32, 258, 258, 4096),
)  # fmt: skip
DEFAULT, FILTERED, HUFFMAN, RLE = range(4)


class Block:
    kind = final = padding = start = bytes = 0
    trees = None


class Matcher:
    def __init__(self, data, level, strategy, memory, window):
        self.data = data
        self.strategy = strategy
        self.good, self.lazy, self.nice, self.chain = TUNING[level]
        self.greedy = level <= 3
        self.shift = (memory + 7 + 2) // 3
        self.mask = (1 << (memory + 7)) - 1
        self.window = 1 << window
        self.most_distance = self.window - 262
        self.restart(0)

    def restart(self, at):
        """Forgets all but the bytes of the window before at."""
        self.head, self.back = {}, {}
        self.held = None
        if self.strategy <= FILTERED:
            for p in range(max(0, at - self.window + 1), at):
                if len(self.data) - p >= 3:
                    self._insert(p)
        self.inserted = at

    def _insert(self, p):
        """Puts p into the chain of its three bytes; tells the one before it, 0 for none."""
        a, b, c = self.data[p : p + 3]
        h = ((a << self.shift ^ b) << self.shift ^ c) & self.mask
        head = self.head.get(h, 0)
        self.back[p % self.window] = p - head
        self.head[h] = p
        return head

    def _common(self, p, q, most):
        data = self.data
        n = 0
        while n < most and data[p + n] == data[q + n]:
            n += 1
        return n

    def _search(self, p, candidate, length):
        """The first match that is longer than all before it and than length: (length, distance)."""
        distance = 0
        chain = self.chain >> 2 if length >= self.good else self.chain
        most = min(258, len(self.data) - p)
        nice = min(self.nice, most)
        limit = max(0, p - self.most_distance)
        if length >= most:
            return length, distance
        while True:
            n = self._common(p, candidate, most)
            if n > length:
                length, distance = n, p - candidate
                if n >= nice:
                    break
            step = self.back.get(candidate % self.window, 0)
            chain -= 1
            if step >= candidate - limit or not chain:
                break
            candidate -= step
        return length, distance

    def _look(self, p, before):
        """The search of lazy evaluation at p, when the byte before had a match of length before."""
        if len(self.data) - p < 3:
            return 2, 0
        if p >= self.inserted:
            head = self._insert(p)
            self.inserted = p + 1
        else:
            step = self.back.get(p % self.window, 0)
            head = p - step if step < p else 0
        if not head or before >= self.lazy or p - head > self.most_distance:
            return 2, 0
        length, distance = self._search(p, head, before)
        if length <= 5 and (self.strategy == FILTERED or (length == 3 and distance > 4096)):
            return 2, 0
        return length, distance

    def predict(self, p):
        self.predicted = self._predict(p)
        return self.predicted

    def _predict(self, p):
        data = self.data
        literal = data[p], 0
        if self.strategy == HUFFMAN:
            return literal
        if self.strategy == RLE:
            n = self._common(p, p - 1, min(258, len(data) - p)) if p else 0
            return (n, 1) if n >= 3 else literal
        if self.greedy:
            length = 2
            if len(data) - p >= 3:
                head = self._insert(p)
                if head and p - head <= self.most_distance:
                    length, distance = self._search(p, head, 2)
            return (length, distance) if length >= 3 else literal
        if self.held and self.held[0] == p:
            _, length, distance = self.held
        else:
            length, distance = self._look(p, 2)
        self.held = None
        if length < 3:
            return literal
        next_length, next_distance = self._look(p + 1, length)
        if next_length <= length:
            return length, distance
        self.held = p + 1, next_length, next_distance
        return literal

    def commit(self, p, token):
        if self.strategy > FILTERED:
            return
        if token != self.predicted:
            self.held = None
        length = token[0] if token[1] else 1
        end = p + length
        if self.greedy:
            if 3 <= length <= self.lazy and len(self.data) - end >= 3:
                for q in range(p + 1, end):
                    self._insert(q)
            return
        stop = min(end, max(0, len(self.data) - 2))
        for q in range(self.inserted, stop):
            self._insert(q)
        self.inserted = max(self.inserted, stop)


class Model:
    def __init__(self, coder, data, padding, level, strategy, memory, window):
        self.coder, self.data, self.padding, self.level = coder, data, padding, level
        if not level:
            level, strategy = 1, HUFFMAN
        self.matcher = Matcher(data, level, strategy, memory, window)
        self.full_block = (1 << (memory + 6)) - 1
        self.is_lazy = strategy <= FILTERED and level >= 4
        self.last_stored = 65535
        self.was_stored = 0
        self.stored, self.final, self.fixed = [Bit(), Bit()], [Bit(), Bit()], [Bit(), Bit()]
        self.full, self.stored_as_foreseen = Bit(), Bit()
        self.stored_bytes, self.count, self.gap, self.distance = Number(), Number(), Number(), Number()
        self.more, self.literal, self.same_length, self.same_distance = Bit(), Bit(), Bit(), Bit()
        self.length = Tree(8)
        self.trees = trees_of.Model(coder)

    def block(self, at):
        block = Block()
        block.start = at
        self.was_stored = self.stored[self.was_stored].decode(self.coder)
        if self.was_stored:
            self._stored(block)
            return block, []
        return block, self._coded(block)

    def _foresee_final(self, at, count, last):
        return at == len(self.data) and (count < self.full_block or (self.is_lazy and not last[1]))

    def _stored(self, block):
        at, left = block.start, len(self.data) - block.start
        as_foreseen = self.stored_as_foreseen.decode(self.coder)
        if self.level and as_foreseen:
            count, last, p = 0, (0, 0), at
            while count < self.full_block and p < len(self.data):
                last = self.matcher.predict(p)
                self.matcher.commit(p, last)
                p += last[0] if last[1] else 1
                count += 1
            block.bytes = p - at
            final = self._foresee_final(p, count, last)
        else:
            if as_foreseen:
                block.bytes = min(left, self.last_stored)
            else:
                block.bytes = self.stored_bytes.decode(self.coder)
                require(block.bytes <= left, "a stored block that is too long")
                if self.level:
                    self.matcher.restart(at + block.bytes)
            self.last_stored = block.bytes
            final = block.bytes == left
        require(block.bytes <= min(left, 65535), "a stored block that is too long")
        block.padding = self.padding.decode()
        block.final = self.final[final].decode(self.coder)

    def _coded(self, block):
        limit = self.full_block
        if not self.full.decode(self.coder):
            limit = self.count.decode(self.coder)
        tokens, p = [], block.start

        def take(n):
            nonlocal p
            while n and p < len(self.data):
                token = self.matcher.predict(p)
                self.matcher.commit(p, token)
                tokens.append(token)
                p += token[0] if token[1] else 1
                n -= 1
            return n

        while self.more.decode(self.coder):
            gap = self.gap.decode(self.coder)
            require(gap < limit - len(tokens) and not take(gap) and p < len(self.data), "a token behind its block")
            token = self._other(self.matcher.predict(p), p)
            self.matcher.commit(p, token)
            tokens.append(token)
            p += token[0] if token[1] else 1
        take(limit - len(tokens))
        block.bytes = p - block.start

        final = self._foresee_final(p, len(tokens), tokens[-1] if tokens else (0, 0))
        block.final = self.final[final].decode(self.coder)
        freqs = trees_of.count(tokens)
        trees = trees_of.build(*freqs)
        fixed = (trees_of.fixed_bits(*freqs) + 10) // 8 <= (trees_of.dynamic_bits(*freqs, trees) + 10) // 8
        if self.fixed[fixed].decode(self.coder):
            block.kind = 1
        else:
            block.kind = 2
            block.trees = self.trees.decode(trees)
        return tokens

    def _other(self, foreseen, p):
        """A token that is not the foreseen one."""
        coder, is_match = self.coder, foreseen[1]
        if is_match and self.literal.decode(coder):
            return self.data[p], 0
        if is_match and self.same_length.decode(coder):
            length = foreseen[0]
        else:
            length = 3 + self.length.decode(coder)
        if is_match and self.same_distance.decode(coder):
            distance = foreseen[1]
        else:
            distance = 1 + self.distance.decode(coder)
        require(distance <= min(32768, p) and length <= len(self.data) - p, "an impossible match")
        return length, distance
