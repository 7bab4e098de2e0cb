# SPDX-License-Identifier: MIT
"""A decoder of zstd frames (RFC 8878), without dictionaries."""

from wire import Malformed, Reader, require


class _Backwards:
    """Bits from the end of a byte string to its beginning."""

    def __init__(self, data):
        require(data and data[-1], "a bit stream without its end")
        self.value = int.from_bytes(data, "little")
        self.left = 8 * (len(data) - 1) + data[-1].bit_length() - 1

    def read(self, n):
        """Bits before the beginning are zeros; left tells that they were used."""
        self.left -= n
        if self.left >= 0:
            return self.value >> self.left & (1 << n) - 1
        return self.value << -self.left & (1 << n) - 1


class _Fse:
    def __init__(self, counts, log):
        size = 1 << log
        self.log = log
        symbols = [0] * size
        high = size - 1
        for s, n in enumerate(counts):
            if n == -1:
                symbols[high] = s
                high -= 1
        step, at = (size >> 1) + (size >> 3) + 3, 0
        for s, n in enumerate(counts):
            for _ in range(max(n, 0)):
                symbols[at] = s
                at = (at + step) & (size - 1)
                while at > high:
                    at = (at + step) & (size - 1)
        nexts = [1 if n == -1 else n for n in counts]
        self.table = []
        for s in symbols:
            n = nexts[s]
            nexts[s] += 1
            bits = log - (n.bit_length() - 1)
            self.table.append((s, bits, (n << bits) - size))


def _fse_counts(data, most_log, most_symbols):
    """Counts, log and how many bytes they took."""
    value, at = int.from_bytes(data[:512], "little"), 4
    log = 5 + (value & 15)
    require(log <= most_log, "an FSE table that is too large")
    left, counts = (1 << log) + 1, []
    while left > 1:
        bits = left.bit_length()
        small = (1 << bits) - 1 - left
        v = value >> at & (1 << bits) - 1
        if v & (1 << (bits - 1)) - 1 < small:
            v &= (1 << (bits - 1)) - 1
            at += bits - 1
        else:
            if v >= 1 << (bits - 1):
                v -= small
            at += bits
        n = v - 1
        left -= abs(n)
        counts.append(n)
        if n == 0:
            while True:
                more = value >> at & 3
                at += 2
                counts += [0] * more
                if more < 3:
                    break
    require(len(counts) <= most_symbols and (at + 7) // 8 <= len(data), "a malformed FSE table")
    return counts, log, (at + 7) // 8


class _Huffman:
    def __init__(self, weights):
        total = sum(1 << w - 1 for w in weights if w)
        require(total, "an empty Huffman table")
        self.log = total.bit_length()
        rest = (1 << self.log) - total
        require(rest & (rest - 1) == 0 and self.log <= 11, "a malformed Huffman table")
        weights = weights + [rest.bit_length()]
        self.table = []
        for w in range(1, self.log + 1):
            for s, n in enumerate(weights):
                if n == w:
                    self.table += [(s, self.log + 1 - w)] * (1 << w - 1)

    def decode(self, data, count):
        bits = _Backwards(data)
        value, left, log = bits.value, bits.left, self.log
        out = bytearray()
        mask = (1 << log) - 1
        for _ in range(count):
            index = value >> (left - log) & mask if left >= log else value << (log - left) & mask
            s, n = self.table[index]
            left -= n
            out.append(s)
        require(left == 0, "a Huffman stream that is not used up")
        return bytes(out)


def _read_huffman(reader):
    head = reader.u8()
    if head >= 128:
        data = reader.take((head - 127 + 1) // 2)
        weights = [n for byte in data for n in (byte >> 4, byte & 15)][: head - 127]
        return _Huffman(weights)
    data = reader.take(head)
    counts, log, used = _fse_counts(data, 6, 13)
    table = _Fse(counts, log).table
    bits = _Backwards(data[used:])
    states = [bits.read(log), bits.read(log)]
    weights, i = [], 0
    while True:
        s, n, base = table[states[i]]
        weights.append(s)
        states[i] = base + bits.read(n)
        if bits.left < 0:
            weights.append(table[states[1 - i]][0])
            break
        i = 1 - i
        require(len(weights) < 255, "too many Huffman weights")
    return _Huffman(weights)


_LL_BASE = list(range(16)) + [16, 18, 20, 22, 24, 28, 32, 40, 48, 64] + [1 << n for n in range(7, 17)]
_LL_BITS = [0] * 16 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 6] + list(range(7, 17))
_ML_BASE = list(range(3, 35)) + [35, 37, 39, 41, 43, 47, 51, 59, 67, 83, 99] + [(1 << n) + 3 for n in range(7, 17)]
_ML_BITS = [0] * 32 + [1, 1, 1, 1, 2, 2, 3, 3, 4, 4, 5] + list(range(7, 17))
_LL = ([4, 3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 3, 2, 1, 1, 1, 1, 1] + [-1] * 4, 6)
_ML = ([1, 4, 3, 2, 2, 2, 2, 2, 2] + [1] * 37 + [-1] * 7, 6)
_OF = ([1, 1, 1, 1, 1, 1, 2, 2, 2] + [1] * 15 + [-1] * 5, 5)


class _Frame:
    def __init__(self):
        self.out = bytearray()
        self.huffman = None
        self.tables = [None, None, None]
        self.repeat = [1, 4, 8]

    def _literals(self, reader):
        head = reader.u8()
        kind, form = head & 3, head >> 2 & 3
        if kind < 2:
            if form in (0, 2):
                size = head >> 3
            elif form == 1:
                size = head >> 4 | reader.u8() << 4
            else:
                size = head >> 4 | reader.u16() << 4
            return reader.take(size) if kind == 0 else reader.take(1) * size
        bits = (10, 10, 14, 18)[form]
        value = head >> 4 | int.from_bytes(reader.take((2, 2, 3, 4)[form]), "little") << 4
        size, packed = value & (1 << bits) - 1, value >> bits
        section = Reader(reader.take(packed))
        if kind == 2:
            self.huffman = _read_huffman(section)
        require(self.huffman is not None, "a Huffman table that is missing")
        if form == 0:
            return self.huffman.decode(section.rest(), size)
        lengths = [section.u16() for _ in range(3)]
        part = (size + 3) // 4
        out = b"".join(self.huffman.decode(section.take(n), part) for n in lengths)
        return out + self.huffman.decode(section.rest(), size - 3 * part)

    def _table(self, reader, mode, index, default, most_log, most_symbols):
        if mode == 0:
            self.tables[index] = _Fse(*default)
        elif mode == 1:
            table = _Fse.__new__(_Fse)
            table.log, table.table = 0, [(reader.u8(), 0, 0)]
            self.tables[index] = table
        elif mode == 2:
            counts, log, used = _fse_counts(reader.data[reader.at :], most_log, most_symbols)
            reader.take(used)
            self.tables[index] = _Fse(counts, log)
        require(self.tables[index] is not None, "an FSE table that is missing")
        return self.tables[index]

    def _offset(self, value, literals):
        r = self.repeat
        if value > 3:
            self.repeat = [value - 3] + r[:2]
            return value - 3
        value -= literals != 0
        if value == 0:
            return r[0]
        offset = r[value] if value < 3 else r[0] - 1
        require(offset > 0, "an offset of nothing")
        self.repeat = [offset, r[0], r[1] if value > 1 else r[2]]
        return offset

    def compressed(self, data):
        reader = Reader(data)
        literals = Reader(self._literals(reader))
        count = reader.u8()
        if count >= 128:
            count = reader.u16() + 0x7F00 if count == 255 else (count - 128 << 8) + reader.u8()
        if count:
            modes = reader.u8()
            ll = self._table(reader, modes >> 6, 0, _LL, 9, 36)
            of = self._table(reader, modes >> 4 & 3, 1, _OF, 8, 32)
            ml = self._table(reader, modes >> 2 & 3, 2, _ML, 9, 53)
            bits = _Backwards(reader.rest())
            states = [bits.read(ll.log), bits.read(of.log), bits.read(ml.log)]
            for i in range(count):
                l, o, m = ll.table[states[0]], of.table[states[1]], ml.table[states[2]]
                value = (1 << o[0]) + bits.read(o[0])
                length = _ML_BASE[m[0]] + bits.read(_ML_BITS[m[0]])
                number = _LL_BASE[l[0]] + bits.read(_LL_BITS[l[0]])
                if i + 1 < count:
                    states = [l[2] + bits.read(l[1]), 0, m[2] + bits.read(m[1])]
                    states[1] = o[2] + bits.read(o[1])
                self.out += literals.take(number)
                offset = self._offset(value, number)
                require(offset <= len(self.out), "an offset before the beginning")
                start = len(self.out) - offset
                if length <= offset:
                    self.out += self.out[start : start + length]
                else:
                    piece = bytes(self.out[start:])
                    self.out += (piece * (length // offset + 1))[:length]
            require(bits.left == 0, "a stream of sequences that is not used up")
        self.out += literals.rest()


def decompress(data, size):
    """One frame of exactly size bytes. Its checksum, when it has one, is not looked at: what is sealed was verified."""
    reader = Reader(data)
    require(reader.take(4) == b"\x28\xb5\x2f\xfd", "no zstd frame")
    descriptor = reader.u8()
    single = descriptor >> 5 & 1
    if not single:
        reader.take(1)
    require(descriptor & 3 == 0, "a zstd frame with a dictionary")
    code = descriptor >> 6
    reader.take((1 if single else 0, 2, 4, 8)[code])
    frame = _Frame()
    while True:
        head = int.from_bytes(reader.take(3), "little")
        kind, length = head >> 1 & 3, head >> 3
        if kind == 0:
            frame.out += reader.take(length)
        elif kind == 1:
            frame.out += reader.take(1) * length
        elif kind == 2:
            frame.compressed(reader.take(length))
        else:
            raise Malformed("an unknown kind of block")
        require(len(frame.out) <= size, "a zstd frame that is too long")
        if head & 1:
            break
    if descriptor & 4:
        reader.take(4)
    reader.end()
    require(len(frame.out) == size, "a zstd frame of another size")
    return bytes(frame.out)
