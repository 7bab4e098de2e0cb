# SPDX-License-Identifier: MIT
"""Packed strings of JPEG recipes: bytes coded bit by bit, mixed from orders 0 to 6 and the longest match."""

import marshal

from coding import RangeDecoder
from wire import clamp, require

BLOCK = 32768
MOST = 16 * BLOCK
_POINTS = (
    1, 2, 4, 6, 10, 17, 27, 45, 74, 120, 194, 311, 488, 747, 1102, 1546, 2048, 2550, 2994, 3349, 3608, 3785, 3902,
    3976, 4022, 4051, 4069, 4079, 4086, 4090, 4092, 4094, 4095,
)  # fmt: skip
# DHT segments of T.81 annex K.3: DC 0, AC 0, DC 1, AC 1.
STANDARD_TABLES = [
    bytes.fromhex(text)
    for text in (
        "ffc4001f0000010501010101010100000000000000000102030405060708090a0b",
        "ffc400b5100002010303020403050504040000017d01020300041105122131410613516107227114328191a1082342b1c11552d1f0"
        "24336272820"
        "90a161718191a25262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83"
        "8485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4d5d6d7d8d9da"
        "e1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa",
        "ffc4001f0100030101010101010101010000000000000102030405060708090a0b",
        "ffc400b51100020102040403040705040400010277000102031104052131061241510761711322328108144291a1b1c109233352f0"
        "156272d10a162434e125f11718191a262728292a35363738393a434445464748494a535455565758595a636465666768696a73747576"
        "7778797a82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3d4"
        "d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa",
    )
]
PRIMING_TEXT = bytes.fromhex(
    """
ffd8ffe000104a46494600010100000100010000ffdb004300ffc00011080301
2200021101031101ffd8ffe1000045786966000049492a000800000045786966
00004d4d002a00000008ffd8ffdb303233300000000830000000000102030052
393800415343494900000050686f746f73686f7020332e30003842494d040441
646f6265006400000000687474703a2f2f6e732e61646f62652e636f6d2f7861
702f312e302f003c3f787061636b657420626567696e3d22efbbbf222069643d
2257354d304d7043656869487a7265537a4e54637a6b633964223f3e0a3c783a
786d706d65746120786d6c6e733a783d2261646f62653a6e733a6d6574612f22
20783a786d70746b3d22584d5020436f726520352e362e30223e0a203c726466
3a52444620786d6c6e733a7264663d22687474703a2f2f7777772e77332e6f72
672f313939392f30322f32322d7264662d73796e7461782d6e7323223e0a2020
3c7264663a4465736372697074696f6e207264663a61626f75743d22220a2020
2020786d6c6e733a786d703d22687474703a2f2f6e732e61646f62652e636f6d
2f7861702f312e302f220a20202020786d6c6e733a64633d22687474703a2f2f
7075726c2e6f72672f64632f656c656d656e74732f312e312f220a2020202078
6d6c6e733a70686f746f73686f703d22687474703a2f2f6e732e61646f62652e
636f6d2f70686f746f73686f702f312e302f220a202020786d703a4372656174
65446174653d22323031352d30312d30315430303a30303a3030222f3e0a203c
2f7264663a5244463e0a3c2f783a786d706d6574613e0a202020202020202020
0a3c3f787061636b657420656e643d2277223f3effe24943435f50524f46494c
45000101616373706d6e74725247422058595a206465736377747074626b7074
7258595a6758595a6258595a7254524367545243625452436375727674657874
ffda000c03010002110311003f00
"""
)


def squash(x):
    if x > 2047:
        return 4095
    if x < -2047:
        return 1
    at = (x + 2048) >> 7
    return _POINTS[at] + (((_POINTS[at + 1] - _POINTS[at]) * ((x + 2048) & 127) + 64) >> 7)


def _stretch():
    table, x = [], -2047
    for p in range(4096):
        while x < 2047 and squash(x) < p:
            x += 1
        table.append(x)
    return table


STRETCH = _stretch()
SQUASH = [squash(x) for x in range(-2047, 2048)]
_MASK = (1 << 32) - 1


def hash32(a, b):
    h = a * 0x2C1B3C6D + b * 0x9E3779B1 + 0x7F4A7C15 & _MASK
    h ^= h >> 15
    h = h * 0x85EBCA6B & _MASK
    return h ^ h >> 13


# What models are once they have learned, by slot_bits: it takes a while.
_PRIMED = {}
_STATE = ("slot_bits", "slots", "weights", "history", "last", "match", "match_len")


class Model:
    """Slots are lists [p of 22 bits, count]."""

    def __init__(self, coded):
        priming = b"".join(STANDARD_TABLES) + PRIMING_TEXT
        self.slot_bits = 15
        while self.slot_bits < 22 and 1 << self.slot_bits < 4 * (len(priming) + coded + 1):
            self.slot_bits += 1
        if self.slot_bits not in _PRIMED:
            self.slots = [{} for _ in range(7)]
            self.weights = {}
            self.history = bytearray()
            self.last = {}
            self.match = self.match_len = 0
            for byte in priming:
                self._byte(lambda p, bit: bit, byte)
            _PRIMED[self.slot_bits] = marshal.dumps(list(vars(self).values()))
        for name, value in zip(_STATE, marshal.loads(_PRIMED[self.slot_bits])):
            setattr(self, name, value)
        self.history = bytearray(self.history)

    def decode(self, coder):
        return self._byte(lambda p, _: coder.decide(16 * p + 8), 0)

    def _byte(self, decide, known):
        history = self.history
        c = bytes(6) if len(history) < 6 else history[-6:]
        if len(history) < 6:
            c = bytes(6 - len(history)) + bytes(history)
        word = int.from_bytes(c[2:], "big")
        more = c[1] | c[0] << 8
        bases = [0, hash32(word & 0xFF, 1), hash32(word & 0xFFFF, 2), hash32(word & 0xFFFFFF, 3), hash32(word, 4)]
        bases.append(hash32(word, more + 5))
        self._find_match(word, c[1])
        expected = history[self.match] + 256 if self.match_len else 0
        node = 1
        shift = 32 - self.slot_bits
        for depth in range(8):
            matching = self.match_len and expected >> (8 - depth) == node
            used, x = [], []
            for i in range(6):
                at = hash32(bases[i], node) >> shift if i else node
                slot = self.slots[i].get(at)
                if slot is None:
                    slot = self.slots[i][at] = [1 << 21, 0]
                used.append(slot)
                x.append(STRETCH[slot[0] >> 10] if slot[1] or not i else 0)
            if matching:
                at = self.match_len, expected >> (7 - depth) & 1
                slot = self.slots[6].setdefault(at, [1 << 21, 0])
                used.append(slot)
                x.append(STRETCH[slot[0] >> 10])
            else:
                x.append(0)
            x.append(256)
            key = (0 if not matching else 1 if self.match_len < 16 else 2), node
            weights = self.weights.get(key)
            if weights is None:
                weights = self.weights[key] = [1 << 14] * 8
            total = sum(map(int.__mul__, weights, x)) >> 16
            p = SQUASH[clamp(total, -2047, 2047) + 2047]
            bit = decide(p, known >> (7 - depth) & 1)
            error = (bit << 12) - p
            for i, xi in enumerate(x):
                if xi:
                    weights[i] += (xi * error + (1 << 10)) >> 11
            target = (1 << 22) - 1 if bit else 0
            for slot in used:
                move = (target - slot[0]) * 2
                slot[0] += move // (2 * slot[1] + 3) if move >= 0 else -(-move // (2 * slot[1] + 3))
                slot[1] = min(slot[1] + 1, 30)
            node = node << 1 | bit
        history.append(node & 255)
        return node & 255

    def _find_match(self, word, c5):
        history = self.history
        if self.match_len and history[self.match] == history[-1]:
            self.match += 1
            self.match_len = min(63, self.match_len + 1)
        else:
            self.match_len = 0
        if len(history) < 5:
            return
        h = hash32(word, c5) >> 16
        if not self.match_len and h in self.last:
            self.match = self.last[h]
            n = 0
            while n < 32 and n < self.match and history[self.match - 1 - n] == history[-1 - n]:
                n += 1
            self.match_len = n
        self.last[h] = len(history)


def unpack(reader):
    length = reader.varint()
    require(length <= MOST + reader.left(), "a packed string that is too long")
    count = -(-length // BLOCK)
    flags = reader.take(-(-count // 8))
    stored = [flags[i // 8] >> i % 8 & 1 for i in range(count)]
    stream = reader.block()
    lengths = [min(BLOCK, length - i * BLOCK) for i in range(count)]
    coded = sum(n for n, is_stored in zip(lengths, stored) if not is_stored)
    require(coded <= MOST, "a packed string that is too long")
    coder = RangeDecoder(stream)
    model = Model(coded) if coded else None
    out = bytearray()
    for n, is_stored in zip(lengths, stored):
        if is_stored:
            out += reader.take(n)
        else:
            out += bytes(model.decode(coder) for _ in range(n))
    coder.end()
    return bytes(out)
