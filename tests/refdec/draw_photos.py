#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
draw_photos.py [NAME...] | --large PNG JPEG: draws the small photos of tests/golden/photos, one for every kind of PNG
and JPEG that the format tells apart (or two larger ones, for golden_vault.sh). They are committed, because other
versions of zlib and libjpeg may write other files; tests/golden/vectors is made of them by lethe-golden. Ordinary JPEGs
come from cjpeg, odd ones from the writer here.
"""

import math
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib

import coefs
import jpeg
import packed
import png
from wire import Reader

TARGET = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "golden", "photos")
SIGNATURE = b"\x89PNG\r\n\x1a\n"
PHOTOS = {}


def photo(name):
    def add(make):
        PHOTOS[name] = make
        return make

    return add


def scene(width, height, seed=1):
    """Rows of (r, g, b): a sky, a hill, a sun, some grain."""
    grain = random.Random(seed)
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            hill = height * (0.6 + 0.15 * math.sin(x / width * 5 + seed))
            if y < hill:
                t = y / height
                colour = [90 + 110 * t, 140 + 70 * t, 220 - 30 * t]
                d = math.hypot(x - width * 0.7, y - height * 0.25)
                if d < height * 0.13:
                    colour = [250, 235, 160]
            else:
                n = math.sin(x * 1.3) * math.cos(y * 1.7) * 25
                colour = [70 + n, 110 + n * 1.2, 45 + n / 2]
            noise = grain.gauss(0, 4)
            row.append(tuple(max(0, min(255, round(c + noise + grain.gauss(0, 1)))) for c in colour))
        rows.append(row)
    return rows


# --- PNG ---


def write_png(
    rows, colour, depth, compress, interlace=0, before=b"", between=None, behind=b"", filters=None, tail=None,
    padding=()
):
    """rows of tuples of values. before: chunks before IDAT; between: how to cut IDATs; tail: instead of Adler-32;
    padding: the bits behind each row."""
    layout = png.Layout.__new__(png.Layout)
    layout.width, layout.height = len(rows[0]), len(rows)
    layout.depth, layout.colour, layout.interlace = depth, colour, interlace
    planes = [[[p[c] for p in row] for row in rows] for c in range(png.CHANNELS[colour])]
    count = sum(len(p[1]) for p in layout.passes())
    types = filters or [(0, 1, 2, 4, 3)[i % 5] for i in range(count)]
    data = png._filtered(layout, planes, types, padding)
    stream = compress(data)
    if tail is not None:
        stream = stream[:-4] + tail
    cuts = between or [len(stream)]
    header = struct.pack(">IIBBBBB", layout.width, layout.height, depth, colour, 0, 0, interlace)
    out = SIGNATURE + png._chunk(b"IHDR", header)
    out += before
    for size in cuts:
        if stream or not size:
            out += png._chunk(b"IDAT", stream[:size])
            stream = stream[size:]
    if stream:
        out += png._chunk(b"IDAT", stream)
    return out + behind + png._chunk(b"IEND", b"")


def deflater(level=6, bits=15, memory=8, strategy=0, flush=None):
    def compress(data):
        c = zlib.compressobj(level, zlib.DEFLATED, bits, memory, strategy)
        if flush is None:
            return c.compress(data) + c.flush()
        half = len(data) // 2
        return c.compress(data[:half]) + c.flush(flush) + c.compress(data[half:]) + c.flush()

    return compress


def grey(rows, depth):
    top = (1 << depth) - 1
    return [[(round(p[1] / 255 * top),) for p in row] for row in rows]


def deep(rows, extra=()):
    low = random.Random(5)
    return [[tuple(v * 257 ^ low.getrandbits(5) for v in p) + extra for p in row] for row in rows]


def with_alpha(rows, scale=1):
    """Holes with one colour under them, an edge, and the rest opaque."""
    out = []
    for y, row in enumerate(rows):
        out.append([])
        for x, p in enumerate(row):
            d = math.hypot(x - len(row) / 3, y - len(rows) / 2) - len(rows) / 4
            a = 0 if d < 0 else 255 if d > 3 else int(d * 85)
            out[-1].append((tuple(0 for _ in p) if a == 0 else p) + (a * scale,))
    return out


def palette(rows, depth, seed=0, alpha=False, double=False, grey_only=False):
    """Indices into a palette of 2^depth colours or fewer, PLTE and tRNS."""
    pick = random.Random(seed)
    count = 1 << depth
    flat = [p for row in rows for p in row]
    colours = [pick.choice(flat) for _ in range(count)]
    if grey_only:
        colours = [(c[1],) * 3 for c in colours]
    if double:
        colours[-1] = colours[0]
        colours[count // 2] = colours[1]
    indices = []
    for row in rows:
        indices.append([])
        for p in row:
            best = min(range(count), key=lambda i: sum((a - b) ** 2 for a, b in zip(colours[i], p)))
            same = [i for i in range(count) if colours[i] == colours[best]]
            indices[-1].append((pick.choice(same),))
    chunks = png._chunk(b"PLTE", b"".join(bytes(c) for c in colours))
    if alpha:
        chunks += png._chunk(b"tRNS", bytes([0, 128, 255][: min(3, count)]))
    return indices, chunks


def text(word):
    return png._chunk(b"tEXt", b"Comment\0" + word)


@photo("rgb8.png")
def _():
    rows = scene(40, 70)
    return write_png(rows, 2, 8, deflater(), before=text(b"a scene"), between=[1500] * 9)


@photo("grey1.png")
def _():
    return write_png(grey(scene(21, 19), 1), 0, 1, deflater(9), interlace=1)


@photo("grey2.png")
def _():
    return write_png(grey(scene(23, 18), 2), 0, 2, deflater(1))


@photo("grey4.png")
def _():
    return write_png(grey(scene(19, 21), 4), 0, 4, deflater(6, memory=9))


@photo("grey8.png")
def _():
    return write_png(grey(scene(33, 17), 8), 0, 8, deflater(4, bits=9), behind=png._chunk(b"tRNS", b"\0\x40"))


@photo("grey16.png")
def _():
    rows = [[(p[1],) for p in row] for row in deep(scene(20, 16))]
    return write_png(rows, 0, 16, deflater(6, strategy=zlib.Z_FILTERED))


@photo("rgb16.png")
def _():
    return write_png(deep(scene(17, 16)), 2, 16, deflater(3), before=png._chunk(b"gAMA", struct.pack(">I", 45455)))


@photo("palette1.png")
def _():
    rows, chunks = palette(scene(21, 18), 1)
    return write_png(rows, 3, 1, deflater(0), before=chunks)


@photo("palette2.png")
def _():
    rows, chunks = palette(scene(22, 17), 2, grey_only=True)
    return write_png(rows, 3, 2, deflater(6, strategy=zlib.Z_RLE), before=chunks)


@photo("palette4.png")
def _():
    rows, chunks = palette(scene(20, 20), 4, double=True)
    return write_png(rows, 3, 4, deflater(6, strategy=zlib.Z_HUFFMAN_ONLY), interlace=1, before=chunks)


@photo("palette8.png")
def _():
    rows, chunks = palette(scene(24, 16), 8, alpha=True, double=True)
    return write_png(rows, 3, 8, deflater(8), before=chunks)


@photo("grey-alpha8.png")
def _():
    rows = with_alpha([[(p[1],) for p in row] for row in scene(24, 20)])
    return write_png(rows, 4, 8, deflater(5, memory=1), between=[100, 0, 57])


@photo("grey-alpha16.png")
def _():
    rows = with_alpha([[(p[1],) for p in row] for row in deep(scene(16, 13))], 257)
    return write_png(rows, 4, 16, deflater(7), interlace=1)


@photo("rgba8.png")
def _():
    """An APNG of two frames."""
    rows = with_alpha(scene(24, 18))
    frame = struct.pack(">IIIIIHHBB", 0, 24, 18, 0, 0, 1, 10, 0, 0)
    second = struct.pack(">IIIIIHHBB", 1, 24, 18, 0, 0, 1, 10, 0, 0)
    before = png._chunk(b"acTL", struct.pack(">II", 2, 0)) + png._chunk(b"fcTL", frame)
    behind = png._chunk(b"fcTL", second) + png._chunk(b"fdAT", struct.pack(">I", 2) + zlib.compress(bytes(18 * 97)))
    return write_png(rows, 6, 8, deflater(7), before=before, behind=behind)


@photo("rgba16.png")
def _():
    return write_png(with_alpha(deep(scene(13, 12)), 257), 6, 16, deflater(2))


@photo("widened.png")
def _():
    rows = [[tuple(257 * v for v in p) for p in row] for row in scene(18, 17)]
    return write_png(rows, 2, 16, deflater(6))


@photo("widened-high.png")
def _():
    """Even areas, told by their colours."""
    rows = [[(256 * (200 if (x // 7 + y // 5) % 2 else 30 + x % 3),) for x in range(40)] for y in range(24)]
    return write_png(rows, 0, 16, deflater(9))


@photo("padded.png")
def _():
    return write_png(grey(scene(27, 20), 2), 0, 2, deflater(6), padding=[y * 37 % 256 for y in range(20)])


@photo("interlaced.png")
def _():
    return write_png(scene(19, 15, 3), 2, 8, deflater(6), interlace=1)


@photo("noise.png")
def _():
    """Blocks that do not compress, and are stored; then some that do."""
    noise = random.Random(9)
    rows = [[tuple(noise.getrandbits(8) for _ in range(3)) for _ in range(24)] for _ in range(16)]
    return write_png(rows + [[(7, 8, 9)] * 24] * 8, 2, 8, deflater(6, memory=1), filters=[0] * 24)


@photo("flushed.png")
def _():
    return write_png(scene(20, 18, 4), 2, 8, deflater(9, flush=zlib.Z_FULL_FLUSH))


@photo("wrong.png")
def _():
    """Wrong checksums, and bytes where none belong."""
    out = write_png(scene(18, 16, 5), 2, 8, deflater(6), before=text(b"wrong"), tail=b"\1\2\3\4 and more", behind=text(b"x"))
    at = out.index(b"wrong") + 5
    out = out[:29] + b"\0\1\2\3" + out[33:at] + b"abcd" + out[at + 4 :]
    return out + b"behind the end"


@photo("optimised.png")
def _():
    """As zopfli writes it; kept as it is where there is no zopflipng."""
    source = os.path.join(TARGET, ".source.png")
    with open(source, "wb") as file:
        file.write(write_png(scene(28, 24, 6), 2, 8, deflater(6)))
    target = os.path.join(TARGET, "optimised.png")
    if shutil.which("zopflipng"):
        subprocess.run(["zopflipng", "-y", "--filters=4", source, target], check=True, stdout=subprocess.DEVNULL)
    os.unlink(source)
    with open(target, "rb") as file:
        return file.read()


# --- JPEG ---


def cjpeg(rows, *options):
    ppm = b"P6 %d %d 255\n" % (len(rows[0]), len(rows)) + b"".join(bytes(p) for row in rows for p in row)
    return subprocess.run(["cjpeg", *options], input=ppm, stdout=subprocess.PIPE, check=True).stdout


@photo("baseline.jpg")
def _():
    return cjpeg(scene(44, 38), "-quality", "85")


@photo("grey.jpg")
def _():
    return cjpeg(scene(33, 27), "-quality", "90", "-grayscale", "-optimize")


@photo("progressive.jpg")
def _():
    return cjpeg(scene(37, 33), "-quality", "92", "-progressive", "-sample", "1x1")


@photo("progressive-422.jpg")
def _():
    return cjpeg(scene(41, 30), "-quality", "75", "-progressive", "-sample", "2x1", "-restart", "1")


@photo("rgb.jpg")
def _():
    return cjpeg(scene(30, 25), "-quality", "80", "-rgb")


@photo("sampling.jpg")
def _():
    return cjpeg(scene(45, 37), "-quality", "80", "-sample", "2x2,1x2,2x1", "-restart", "2B")


@photo("coarse.jpg")
def _():
    """Extended sequential: tables of 16 bits."""
    return cjpeg(scene(32, 24), "-quality", "1", "-optimize")


def segment(marker, data):
    return struct.pack(">BBH", 0xFF, marker, len(data) + 2) + data


def sof(marker, width, height, factors, tables, depth=8, ids=None):
    ids = ids or range(1, 5)
    data = struct.pack(">BHHB", depth, height, width, len(factors))
    return segment(marker, data + b"".join(bytes([i, h << 4 | v, t]) for i, (h, v), t in zip(ids, factors, tables)))


def sos(components, tables, ss=0, se=63, a=0):
    data = bytes([len(components)]) + b"".join(bytes([c, t]) for c, t in zip(components, tables))
    return segment(0xDA, data + bytes([ss, se, a]))


def dqt(number, step):
    return segment(0xDB, bytes([number]) + bytes(min(255, step + 2 * i) for i in range(64)))


def steps(step):
    table = [0] * 64
    for i, k in enumerate(coefs.ZIGZAG):
        table[k] = min(255, step + 2 * i)
    return table


def transform(plane, blocks_w, blocks_h, quant):
    """Quantised coefficients of a plane of samples by block."""
    cosine = [[math.cos((2 * x + 1) * u * math.pi / 16) * (0.5 if u else 8**-0.5) for x in range(8)] for u in range(8)]
    out = {}
    for by in range(blocks_h):
        for bx in range(blocks_w):
            block = [
                [plane[min(8 * by + y, len(plane) - 1)][min(8 * bx + x, len(plane[0]) - 1)] - 128 for x in range(8)]
                for y in range(8)
            ]
            rows = [[sum(c * v for c, v in zip(cs, row)) for cs in cosine] for row in block]
            out[bx, by] = [
                round(sum(cosine[v][y] * rows[y][u] for y in range(8)) / quant[8 * v + u]) for v in range(8) for u in range(8)
            ]
    return out


def write_jpeg(plain, components, notes=None):
    """The plain bytes with the scans that they tell; notes: bytes for each scan as in a recipe."""
    headers = jpeg.Headers(plain)
    out = b""
    for number in range(plain.count(b"\xff\xda")):
        head, scan = headers.next_scan()
        told = jpeg.Notes(Reader((notes or {}).get(number, b"\0")))
        encoder = jpeg.ScanEncoder(scan, told)
        out += head + encoder.encode(headers.walk(scan), lambda c, x, y: components[c][x, y])
    return out + plain[headers.at :]


TABLES = b"".join(packed.STANDARD_TABLES)
ADOBE = segment(0xEE, b"Adobe\0\x64\0\0\0\0")


def planes_of(rows, count):
    planes = [[[p[c % 3] for p in row] for row in rows] for c in range(count)]
    if count == 4:
        planes[3] = [[255 - max(p) // 2 for p in row] for row in rows]
    return planes


@photo("cmyk.jpg")
def _():
    rows = scene(23, 17)
    plain = b"\xff\xd8" + ADOBE + b"\0" + dqt(0, 6) + sof(0xC0, 23, 17, [(1, 1)] * 4, [0] * 4) + TABLES
    plain = plain.replace(ADOBE + b"\0", segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"))
    plain += sos([1, 2, 3, 4], [0] * 4) + b"\xff\xd9"
    return write_jpeg(plain, [transform(p, 3, 3, steps(6)) for p in planes_of(rows, 4)])


@photo("ycck.jpg")
def _():
    rows = scene(26, 20)
    plain = b"\xff\xd8" + segment(0xEE, b"Adobe\0\x64\0\0\0\0\2") + dqt(0, 6) + dqt(1, 9)
    plain += sof(0xC0, 26, 20, [(2, 2), (1, 1), (1, 1), (2, 2)], [0, 1, 1, 0]) + TABLES
    plain += sos([1, 2, 3, 4], [0, 0x11, 0x11, 0]) + b"\xff\xd9"
    planes = planes_of(rows, 4)
    small = [[row[::2] for row in p[::2]] for p in planes]
    parts = [transform(planes[0], 4, 4, steps(6)), transform(small[1], 2, 2, steps(9)), transform(small[2], 2, 2, steps(9))]
    return write_jpeg(plain, parts + [transform(planes[3], 4, 4, steps(6))])


def three(step=8, width=26, height=19):
    """The planes of a 4:4:4 picture as coefficients."""
    rows = scene(width, height, 7)
    return [transform(p, -(-width // 8), -(-height // 8), steps(step)) for p in planes_of(rows, 3)]


@photo("tables.jpg")
def _():
    """A scan for each component, tables that are replaced between them, and one that comes late."""
    swapped = b"".join(packed.STANDARD_TABLES[2:] + packed.STANDARD_TABLES[:2])
    swapped = segment(0xC4, b"\2" + swapped[5:33]) + segment(0xC4, b"\x12" + packed.STANDARD_TABLES[3][5:])
    plain = b"\xff\xd8" + dqt(0, 8) + sof(0xC1, 26, 19, [(1, 1)] * 3, [0, 1, 2]) + TABLES
    plain += sos([1], [0]) + segment(0xFE, b"between") + dqt(1, 8) + dqt(2, 8) + TABLES + swapped
    plain += sos([2], [0x11]) + sos([3], [0x22]) + b"\xff\xd9"
    return write_jpeg(plain, three())


def plain_444(extra=b""):
    plain = b"\xff\xd8" + dqt(0, 8) + extra + sof(0xC0, 26, 19, [(1, 1)] * 3, [0] * 3) + TABLES
    return plain + sos([1, 2, 3], [0, 0x11, 0x11]) + b"\xff\xd9"


@photo("restarts.jpg")
def _():
    """Markers with wrong numbers, padding of every kind."""
    notes = bytes([8 | 64]) + bytes([6]) + bytes([0, 0, 0, 0, 0, 0]) + b"\0\0" + b"\2\1\5\2\0"
    return write_jpeg(plain_444(segment(0xDD, b"\0\2")), three(), {0: notes})


@photo("unused-restarts.jpg")
def _():
    return write_jpeg(plain_444(segment(0xDD, b"\0\2")), three(), {0: b"\6"})


@photo("zero-runs.jpg")
def _():
    """Runs of zeros before the end of a block, and blocks that end in none of the usual ways."""
    return write_jpeg(plain_444(), three(40), {0: bytes([64]) + b"\3" + b"\0\5" + b"\5\4" + b"\1\6\xf0\0\0" + b"\0\0"})


@photo("eob-runs.jpg")
def _():
    """A progressive file that ends each block on its own, and another's runs."""
    counts, symbols = [0] * 16, [r << 4 | s for r in range(15) for s in range(11)] + [0xF0]
    counts[7] = len(symbols)
    plain = b"\xff\xd8" + dqt(0, 8) + sof(0xC2, 26, 19, [(1, 1)] * 3, [0] * 3) + TABLES
    plain += segment(0xC4, b"\x13" + bytes(counts) + bytes(symbols)) + sos([1, 2, 3], [0, 0x10, 0x10], 0, 0, 1)
    plain += sos([1], [3], 1, 5, 1) + sos([1], [3], 6, 63, 1) + sos([1], [3], 1, 63, 0x10) + sos([2], [3], 1, 63)
    plain += sos([3], [3], 1, 63, 0) + sos([1, 2, 3], [0, 0, 0], 0, 0, 0x10) + b"\xff\xd9"
    return write_jpeg(plain, three(30), {1: b"\x20", 2: bytes([64]) + b"\0" + b"\1\0\1" + b"\0", 3: b"\x20", 4: b"\x10"})


@photo("deep.jpg")
def _():
    """12 bits a sample: no recipe."""
    plain = plain_444()
    return write_jpeg(plain, three()).replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c")


@photo("truncated.jpg")
def _():
    return cjpeg(scene(44, 38, 2), "-quality", "85")[:-171]


@photo("corrupt.jpg")
def _():
    file = bytearray(cjpeg(scene(44, 38, 3), "-quality", "85", "-restart", "1"))
    for at in (-300, -220, -90):
        file[at] ^= 0x15
    return bytes(file)


@photo("mpf.jpg")
def _():
    """A preview in EXIF, a second picture behind the first, as MPF has them."""
    small = cjpeg(scene(16, 12, 8), "-quality", "60")
    first = cjpeg(scene(28, 22, 8), "-quality", "85")
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + small
    mpf = b"MPF\0II*\0\x08\0\0\0\1\0\x01\xb0\x04\0\2\0\0\0\0\0\0\0\0\0\0\0"
    return first[:2] + segment(0xE1, exif) + segment(0xE2, mpf) + first[2:] + small


@photo("motion.jpg")
def _():
    """A film behind the picture."""
    film = struct.pack(">I4s4sI4s", 20, b"ftyp", b"mp42", 0, b"isom") + struct.pack(">I4s", 608, b"mdat")
    return cjpeg(scene(29, 21, 9), "-quality", "85") + film + random.Random(3).randbytes(600)


def large(png_path, jpeg_path):
    """Pictures that are worth the learned path, for vaults."""
    with open(png_path, "wb") as file:
        file.write(write_png(scene(96, 64), 2, 8, deflater(6)))
    with open(jpeg_path, "wb") as file:
        file.write(cjpeg(scene(128, 96, 2), "-quality", "90"))


def main(names):
    if names[:1] == ["--large"]:
        return large(*names[1:])
    os.makedirs(TARGET, exist_ok=True)
    for name, make in PHOTOS.items():
        if names and name not in names:
            continue
        content = make()
        with open(os.path.join(TARGET, name), "wb") as file:
            file.write(content)
        print("%-20s %6d bytes" % (name, len(content)))


if __name__ == "__main__":
    main(sys.argv[1:])
