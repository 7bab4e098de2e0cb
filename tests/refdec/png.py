# SPDX-License-Identifier: MIT
"""PNG RECIPES: the file of samples and recipe."""

import struct
import zlib

from coding import RangeDecoder, Table, Tree
from wire import Reader, require
import deflate

ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}


def unpack(reader):
    packed, length = reader.u8(), reader.varint()
    require(packed <= 1, "bytes that are packed in an unknown way")
    block = reader.block()
    if not packed:
        require(len(block) == length, "a packed string of another length")
        return block
    coder, trees, before = RangeDecoder(block), Table(lambda: Tree(8)), 0
    out = bytearray()
    for _ in range(length):
        before = trees[before].decode(coder)
        out.append(before)
    return bytes(out)


def filter_types(block, rows):
    coder, trees, a, b = RangeDecoder(block), Table(lambda: Tree(3)), 0, 0
    out = []
    for _ in range(rows):
        a, b = b, trees[a, b].decode(coder)
        require(b <= 4, "an unknown filter")
        out.append(b)
    return out


class Layout:
    def __init__(self, data):
        reader = Reader(data)
        self.width, self.height = reader.varint(), reader.varint()
        self.depth, self.colour, self.interlace = reader.u8(), reader.u8(), reader.u8()
        require(self.depth in DEPTHS.get(self.colour, ()) and self.interlace <= 1, "no PNG")
        self.ihdr_crc = reader.take(4) if reader.u8() else None
        self.zlib_header = reader.take(2)
        self.tail = reader.u8()
        require(self.tail <= 2, "an unknown tail")
        self.tail_bytes = reader.block() if self.tail else b""
        self.items = []
        while True:
            tag = reader.u8()
            if not tag:
                break
            kind, value = tag & 127, None
            if kind == 1:
                count = reader.varint()
                require(tag == 1 and count, "IDATs that are impossible")
                value = count, reader.varint() if count > 1 else 0
            elif kind == 2:
                value = reader.take(4), reader.block()
            elif kind == 3:
                value = reader.varint()
            else:
                require(kind == 4, "an unknown item")
            self.items.append((kind, value, reader.take(4) if tag > 128 else None))
        self.behind = reader.block()
        reader.end()

    def passes(self):
        """(columns, rows) of the pixels of each pass that has any."""
        if not self.interlace:
            return [(range(self.width), range(self.height))]
        all_passes = [(range(x, self.width, dx), range(y, self.height, dy)) for x, y, dx, dy in ADAM7]
        return [p for p in all_passes if p[0] and p[1]]

    def first(self, kind):
        return next((value[1] for item, value, _ in self.items if item == 2 and value[0] == kind), None)


def _palette(layout):
    """What each index stands for, in the channels of the picture."""
    plte, trns = layout.first(b"PLTE"), layout.first(b"tRNS") or b""
    require(plte and len(plte) % 3 == 0 and len(plte) <= 768 and len(trns) <= 256, "no palette")
    colours = []
    for i in range(1 << layout.depth):
        colour = tuple(plte[3 * i : 3 * i + 3]) or (0, 0, 0)
        colours.append(colour + (trns[i] if i < len(trns) else 255,))
    grey = all(c[0] == c[1] == c[2] for c in colours)
    opaque = all(c[3] == 255 for c in colours)
    return [(c[:1] if grey else c[:3]) + (() if opaque else c[3:]) for c in colours]


def _values(layout, version, planes, choices):
    """The values that the file holds: for each channel of the file rows of them."""
    if version == 1:
        return planes
    if layout.colour == 0:
        scale = 255 // ((1 << layout.depth) - 1)
        require(all(n % scale == 0 for row in planes[0] for n in row), "a sample that no value stands for")
        return [[[n // scale for n in row] for row in planes[0]]]
    colours = _palette(layout)
    require(len(planes) == len(colours[0]), "a palette of another kind")
    lowest = {}
    for i in range(len(colours) - 1, -1, -1):
        lowest[colours[i]] = i
    several = {c for c in colours if colours.count(c) > 1}
    choice = iter(choices)
    rows = []
    for rows_of in zip(*planes):
        rows.append([])
        for pixel in zip(*rows_of):
            require(pixel in lowest, "a colour that is not in the palette")
            index = lowest[pixel]
            if choices and pixel in several:
                index = next(choice, None)
                require(index is not None and index < len(colours) and colours[index] == pixel, "a wrong choice")
            rows[-1].append(index)
    require(next(choice, None) is None, "too many choices")
    return [rows]


def _filtered(layout, values, types, padding):
    """The bytes that deflate packs."""
    bits = CHANNELS[layout.colour] * layout.depth
    step = max(1, bits // 8)
    out = bytearray()
    types, padding = iter(types), iter(padding)
    for columns, rows in layout.passes():
        above = bytes(-(-len(columns) * bits // 8))
        for y in rows:
            packed = 0
            for x in columns:
                for plane in values:
                    packed = packed << layout.depth | plane[y][x]
            behind = 8 * len(above) - len(columns) * bits
            packed = packed << behind | next(padding, 0) & (1 << behind) - 1
            row = packed.to_bytes(len(above), "big")
            kind = next(types)
            out.append(kind)
            left, corner = bytes(step) + row, bytes(step) + above
            if kind == 0:
                out += row
            elif kind == 1:
                out += bytes((x - a) & 255 for x, a in zip(row, left))
            elif kind == 2:
                out += bytes((x - b) & 255 for x, b in zip(row, above))
            elif kind == 3:
                out += bytes((x - (a + b) // 2) & 255 for x, a, b in zip(row, left, above))
            else:
                for x, a, b, c in zip(row, left, above, corner):
                    pa, pb, pc = abs(b - c), abs(a - c), abs(a + b - 2 * c)
                    out.append((x - (a if pa <= pb and pa <= pc else b if pb <= pc else c)) & 255)
            above = row
    return bytes(out)


def _chunk(kind, data, crc=None):
    crc = struct.pack(">I", zlib.crc32(kind + data)) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + crc


def rebuild(recipe, planes):
    reader = Reader(recipe)
    version = reader.u8()
    require(1 <= version <= 2, "a newer recipe")
    layout = Layout(unpack(reader))
    require((version == 1) == (layout.colour != 3 and layout.depth >= 8), "a recipe of another version")
    require((layout.width, layout.height) == (len(planes[0][0]), len(planes[0])), "a picture of another size")
    rows = sum(len(p[1]) for p in layout.passes())
    types = filter_types(reader.block(), rows)
    description = reader.block()
    choices = unpack(reader) if layout.colour == 3 else b""
    padding = b""
    if layout.depth < 8 and reader.left():
        padding = unpack(reader)
        require(len(padding) == rows, "padding for other rows")
    reader.end()

    data = _filtered(layout, _values(layout, version, planes, choices), types, padding)
    stream = layout.zlib_header + deflate.replay(description, data)
    if layout.tail != 2:
        stream += struct.pack(">I", zlib.adler32(data))
    stream = Reader(stream + layout.tail_bytes)

    header = struct.pack(">IIBBBBB", layout.width, layout.height, layout.depth, layout.colour, 0, 0, layout.interlace)
    out = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header, layout.ihdr_crc)
    for kind, value, crc in layout.items:
        if kind == 1:
            count, size = value
            for _ in range(count - 1):
                out += _chunk(b"IDAT", stream.take(size))
            out += _chunk(b"IDAT", stream.rest())
        elif kind == 2:
            out += _chunk(*value, crc)
        elif kind == 3:
            out += _chunk(b"IDAT", stream.take(value), crc)
        else:
            out += _chunk(b"IEND", b"", crc)
    stream.end()
    return out + layout.behind
