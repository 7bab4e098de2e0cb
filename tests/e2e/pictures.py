# SPDX-License-Identifier: MIT
"""Makes pictures that decoders trip over, in sys.argv[1], from those in sys.argv[2:]; sys.argv[3] is the seed."""
import os
import random
import struct
import sys
import zlib

out, seed, sources = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
rng = random.Random(seed)
os.makedirs(out, exist_ok=True)


def save(name, data):
    with open(f"{out}/{name}", "wb") as f:
        f.write(data)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


SIGNATURE = b"\x89PNG\r\n\x1a\n"
PLANES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def png(width, height, depth, colour, interlace=0, level=6, extra=b"", filters=True, rows=None, tail=b"", cuts=1):
    """A picture of gradients and noise; rows (bytes) overrides the raw image data."""
    bits = PLANES[colour] * depth
    raw = bytearray()
    passes = [(0, 0, 1, 1)]
    if interlace:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    for x0, y0, dx, dy in passes:
        w, h = (width - x0 + dx - 1) // dx, (height - y0 + dy - 1) // dy
        if w <= 0 or h <= 0 or rows is not None:
            continue
        line = (w * bits + 7) // 8
        for y in range(h):
            raw.append(rng.randrange(5) if filters else 0)
            raw += bytes((i * 3 + y * 5 + rng.randrange(8)) & 255 for i in range(line))
    packed = zlib.compress(bytes(raw) if rows is None else rows, level)
    data = SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)) + extra
    if colour == 3:
        data += chunk(b"PLTE", bytes(range(256)) * 3 if depth == 8 else bytes(range(3 << depth)))
    step = max(1, (len(packed) + cuts - 1) // cuts)
    for at in range(0, len(packed), step):
        data += chunk(b"IDAT", packed[at:at + step])
    return data + chunk(b"IEND", b"") + tail


for colour, depths in {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}.items():
    for depth in depths:
        for interlace in (0, 1):
            save(f"colour{colour}-{depth}-{interlace}.png", png(61, 47, depth, colour, interlace))
for level in range(10):
    save(f"level-{level}.png", png(150, 90, 8, 2, level=level))
for width, height in ((1, 1), (20000, 1), (1, 20000), (7, 3), (8, 8), (9, 17), (4096, 2)):
    save(f"size-{width}x{height}.png", png(width, height, 8, 2))
save("interlaced-1x1.png", png(1, 1, 8, 6, 1))
save("many-idat.png", png(100, 100, 8, 6, cuts=77))
save("no-filters.png", png(300, 200, 8, 2, filters=False))
save("text.png", png(64, 64, 8, 2, extra=chunk(b"tEXt", b"Comment\0secret place") + chunk(b"zTXt", rng.randbytes(50))))
save("private-chunks.png", png(64, 64, 8, 2, extra=chunk(b"prVt", rng.randbytes(3000)) * 5))
save("trailer.png", png(64, 64, 8, 2, tail=rng.randbytes(5000)))
save("trailer-png.png", png(64, 64, 8, 2) * 2)
save("apng.png", png(64, 64, 8, 2, extra=chunk(b"acTL", struct.pack(">II", 2, 0))))
save("short-data.png", png(500, 500, 8, 2, rows=bytes(1501 * 20)))
save("long-data.png", png(20, 20, 8, 2, rows=bytes(61 * 400)))
save("bad-filter.png", png(20, 20, 8, 2, rows=bytes([9]) * (61 * 20)))
save("bomb-header.png", png(2**31 - 1, 2**31 - 1, 8, 6, rows=bytes(1000)))
save("bomb-65535.png", png(65535, 65535, 16, 6, rows=bytes(100000)))
save("bomb-zeros.png", png(40000, 12000, 8, 2, rows=bytes(1 << 27), level=9))
save("zero-width.png", png(0, 10, 8, 2, rows=b"\0"))
save("bad-depth.png", png(10, 10, 3, 2, rows=bytes(500)))
save("no-idat.png", SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 9, 8, 2, 0, 0, 0)) + chunk(b"IEND", b""))
save("signature.png", SIGNATURE)
huge = SIGNATURE + struct.pack(">I", 0x7FFFFFFF) + b"IHDR" + bytes(40)
save("huge-chunk.png", huge)
bad = bytearray(png(64, 64, 8, 2))
bad[-20] ^= 1
save("bad-crc.png", bytes(bad))
stored = zlib.compressobj(6, zlib.DEFLATED, 9)
body = b"".join(b"\0" + rng.randbytes(30) for _ in range(10))
data = stored.compress(body[:100]) + stored.flush(zlib.Z_SYNC_FLUSH) + stored.compress(body[100:200])
data += stored.flush(zlib.Z_FULL_FLUSH) + stored.compress(body[200:]) + stored.flush()
ihdr = chunk(b"IHDR", struct.pack(">IIBBBBB", 10, 10, 8, 2, 0, 0, 0))
save("flushes.png", SIGNATURE + ihdr + chunk(b"IDAT", data) + chunk(b"IEND", b""))
for name in ("empty.jpg", "empty.png"):
    save(name, b"")
save("two-bytes.jpg", b"\xff\xd8")
save("soi-eoi.jpg", b"\xff\xd8\xff\xd9")
save("bomb.jpg", b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 17, 8, 65535, 65535, 3) + bytes([1, 0x44, 0, 2, 17, 0, 3, 17, 0])
     + b"\xff\xd9")

for source in sources:
    name, data = os.path.basename(source), open(source, "rb").read()
    save(f"whole-{name}", data)
    stem, ext = os.path.splitext(name)
    save(f"named-wrongly-{stem}" + (".jpg" if ext == ".png" else ".png"), data)
    for i in range(4):
        save(f"cut{i}-{name}", data[:rng.randrange(1, len(data))])
    for i in range(6):
        hurt = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 20])):
            hurt[rng.randrange(len(hurt) if i % 2 else min(700, len(hurt)))] ^= 1 << rng.randrange(8)
        save(f"flipped{i}-{name}", bytes(hurt))
    save(f"trailer-{name}", data + rng.randbytes(rng.randrange(1, 40000)))
    save(f"zero-trailer-{name}", data + bytes(70000))
    save(f"twice-{name}", data + data)
    at = rng.randrange(len(data))
    save(f"hole-{name}", data[:at] + bytes(min(3000, len(data) - at)) + data[at + 3000:])
    save(f"insert-{name}", data[:at] + rng.randbytes(7) + data[at:])
    save(f"missing-{name}", data[:at] + data[at + 5:])
