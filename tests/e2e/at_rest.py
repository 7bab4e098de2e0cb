# SPDX-License-Identifier: MIT
"""Looks for plaintext in, and tests the uniformity of, all files below the folders given.

usage: at_rest.py SAMPLES FOLDER...
"""
import os
import struct
import sys
import zlib

NEEDLES = [b"holiday", b"lisbon", b"landscape", b"sprite", b"note-1", b"quick brown", b"lazy dog", b"numbers",
           b"secret-tag", b"needle", b"target-nobody", b"haystack", b"lethefs sample", b"drawn landscape", b"Exif\0\0",
           b"\xff\xe0\0\x10JFIF\0", b"SQLite format", b"CREATE TABLE", b"dentry", b"12345\n12346\n"]


def pixel_runs(samples):
    """Some rows of the samples' pixels, as they stand in memory."""
    runs = []
    for name in sorted(os.listdir(samples)):
        if not name.endswith(".png"):
            continue
        png, at, data = open(os.path.join(samples, name), "rb").read(), 8, b""
        width, height, _, colour = struct.unpack(">IIBB", png[16:26])
        channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
        while at < len(png):
            size = int.from_bytes(png[at:at + 4], "big")
            if png[at + 4:at + 8] == b"IDAT":
                data += png[at + 8:at + 8 + size]
            at += size + 12
        raw, stride, above = zlib.decompress(data), width * channels, bytes(width * channels)
        for y in range(height):
            kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
            for x in range(stride):
                a = row[x - channels] if x >= channels else 0
                b, c = above[x], above[x - channels] if x >= channels else 0
                p = a + b - c
                paeth = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                row[x] = (row[x] + (0, a, b, (a + b) // 2, paeth)[kind]) & 255
            above = bytes(row)
            if y % 97 == 50 and len(set(above[:48])) > 8:
                runs.append(above[:48])
    return runs


def uniform(data):
    """Chi-square over byte values, 255 degrees of freedom; the bound is far out: noise exceeds it once in 1e10."""
    counts = [0] * 256
    for value in data:
        counts[value] += 1
    expected = len(data) / 256
    return sum((n - expected) ** 2 / expected for n in counts) < 255 + 8 * (2 * 255) ** 0.5


def data_extents(path):
    """The file's bytes without its holes: a hole is space that was never written."""
    with open(path, "rb") as f:
        fd, size, at, out = f.fileno(), os.fstat(f.fileno()).st_size, 0, []
        while at < size:
            try:
                start = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(fd, start, os.SEEK_HOLE)
            out.append(os.pread(fd, end - start, start))
            at = end
        return b"".join(out)


def png_pixels(data):
    at, idat = 8, b""
    while at < len(data):
        size = int.from_bytes(data[at:at + 4], "big")
        if data[at + 4:at + 8] == b"IDAT":
            idat += data[at + 8:at + 8 + size]
        at += size + 12
    width = struct.unpack(">I", data[16:20])[0]
    raw, stride = zlib.decompress(idat), width * 3 + 1
    return b"".join(raw[i + 1:i + stride] for i in range(0, len(raw), stride))


def main():
    runs = pixel_runs(sys.argv[1])
    needles = NEEDLES + runs
    seen, faults = 0, []
    for folder in sys.argv[2:]:
        for root, _, names in os.walk(folder):
            for name in names:
                path = os.path.join(root, name)
                if not os.path.isfile(path) or os.path.islink(path):
                    continue
                seen += 1
                for needle in NEEDLES:
                    if needle in path[len(folder):].encode():
                        faults.append(f"{path}: its name tells {needle!r}")
                data = data_extents(path)
                if name == "vault.json" or name.startswith("vault.json."):
                    continue  # settings, salts and wrapped keys, in the open
                for needle in needles:
                    if needle in data:
                        faults.append(f"{path}: holds {needle[:20]!r}")
                if name.endswith(".png"):
                    data = png_pixels(data)
                # Zeros that pad a partly written 4 KiB unit of a sparse file up to its end are space, not data.
                if name == "blocks":
                    data = b"".join(u for u in (data[i:i + 4096].rstrip(b"\0") for i in range(0, len(data), 4096)))
                if len(data) >= 1024 and not uniform(data):
                    faults.append(f"{path}: {len(data)} bytes are not uniform")
    print(f"{seen} files, {len(runs)} pixel runs looked for")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults or seen < 10 or not runs else 0)


main()
