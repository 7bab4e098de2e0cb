# SPDX-License-Identifier: MIT
"""What lossy.sh and split.sh ask of pictures.

  thumbnail FROM TO      puts a JPEG thumbnail (a copy of FROM's first bytes of pixels) into TO's EXIF, in place
  alike A B              same format, same size in pixels, similar pixels, nothing of A's thumbnail in B
  shaped A B             same format and size in pixels, B is another file and holds nothing of A's thumbnail
  same A B               the same pixels
  comment FROM TO        TO is FROM with a comment
  held FROM TO LETHEFS MOUNT   writes TO in two halves, with a sync between them, keeping it open
"""
import os
import struct
import subprocess
import sys
import zlib


def fail(text):
    print("FAILED: " + text, file=sys.stderr)
    sys.exit(1)


def read(path):
    with open(path, "rb") as file:
        return file.read()


def segments(data):
    """Marker segments of a JPEG up to its first scan: (marker, start, end)."""
    at = 2
    while at + 4 <= len(data):
        marker, size = data[at + 1], struct.unpack(">H", data[at + 2:at + 4])[0]
        yield marker, at, at + 2 + size
        if marker == 0xDA:
            return
        at += 2 + size


def shape(data):
    if data[:4] == b"\x89PNG":
        return ("png",) + struct.unpack(">II", data[16:24]) + (data[24], data[25])
    for marker, start, _ in segments(data):
        if 0xC0 <= marker <= 0xC2:
            height, width = struct.unpack(">HH", data[start + 5:start + 9])
            return ("jpeg", width, height, data[start + 9], data[start + 11::3][:data[start + 9]])
    fail("no picture")


def pixels(path):
    """Samples by libjpeg's tools, or by zlib for a PNG."""
    data = read(path)
    if data[:2] == b"\xff\xd8":
        try:
            return subprocess.run(["djpeg", "-pnm", path], check=True, capture_output=True).stdout
        except FileNotFoundError:
            print("no djpeg: pixels are not compared")
            return None
    width, height, depth, colour = shape(data)[1:]
    at, packed = 8, b""
    while at < len(data):
        size = struct.unpack(">I", data[at:at + 4])[0]
        if data[at + 4:at + 8] == b"IDAT":
            packed += data[at + 8:at + 8 + size]
        at += 12 + size
    step = {0: 1, 2: 3, 4: 2, 6: 4}[colour] * depth // 8
    row, out, raw = bytes(width * step), bytearray(), zlib.decompress(packed)
    for y in range(height):
        at = y * (width * step + 1)
        kind, line = raw[at], bytearray(raw[at + 1:at + 1 + width * step])
        for i in range(width * step):
            a, b, c = (line[i - step] if i >= step else 0), row[i], (row[i - step] if i >= step else 0)
            if kind == 1:
                line[i] = line[i] + a & 255
            elif kind == 2:
                line[i] = line[i] + b & 255
            elif kind == 3:
                line[i] = line[i] + (a + b) // 2 & 255
            elif kind == 4:
                p = a + b - c
                near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]
                line[i] = line[i] + near & 255
        row = bytes(line)
        out += row
    return bytes(out)


def thumbnail_of(data):
    for marker, start, end in segments(data):
        if marker == 0xE1 and data[start + 4:start + 10] == b"Exif\0\0":
            at = data.find(b"\xff\xd8\xff", start, end)
            return data[at:end] if at >= 0 else None
    return None


def thumbnail(source, target):
    """Into every file a noisy thumbnail, in an EXIF block of its own."""
    small = read(source)[:20000]
    body = b"\xff\xd8\xff\xdb\0\x43\0" + bytes([1] * 64)
    body += b"\xff\xc0\0\x0b\x08" + struct.pack(">HH", 120, 160) + b"\1\1\x11\0"
    body += b"\xff\xda\0\x08\1\1\0\0\x3f\0" + small.replace(b"\xff", b"\xfe") + b"\xff\xd9"
    tiff = b"II*\0\x08\0\0\0\0\0\x0e\0\0\0\2\0"
    tiff += struct.pack("<HHII", 0x201, 4, 1, 44) + struct.pack("<HHII", 0x202, 4, 1, len(body)) + b"\0\0\0\0\0\0"
    tiff += body
    for path in (source, target):
        data = read(path)
        block = b"\xff\xe1" + struct.pack(">H", len(tiff) + 8) + b"Exif\0\0" + tiff
        with open(path, "wb") as file:
            file.write(data[:2] + block + data[2:])


def alike(first, second):
    one, two = read(first), read(second)
    if shape(one) != shape(two):
        fail("%s became %s" % (shape(one), shape(two)))
    a, b = pixels(first), pixels(second)
    if a is not None:
        if len(a) != len(b):
            fail("another number of samples")
        step = max(1, len(a) // 200000)
        error = sum((x - y) ** 2 for x, y in zip(a[::step], b[::step])) / (len(a) // step)
        print("%s: mean squared error %.1f" % (os.path.basename(first), error))
        if error > 300:
            fail("the pictures have little in common")
    small = no_thumbnail(one, two)
    if small and len(thumbnail_of(two) or b"") != len(small):
        fail("the thumbnail has another length")


def no_thumbnail(one, two):
    """The thumbnail of one, which must not stand in two; None when there is no large one."""
    small = thumbnail_of(one) if one[:2] == b"\xff\xd8" else None
    if not small or len(small) < 4000:
        return None
    for at in range(1000, len(small) - 16, 64):
        if small[at:at + 16] in two:
            fail("a piece of the thumbnail is left")
    return small


def shaped(first, second):
    one, two = read(first), read(second)
    if shape(one) != shape(two) or one == two:
        fail("%s became %s" % (shape(one), shape(two)))
    pixels(second)
    no_thumbnail(one, two)


def same(first, second):
    if pixels(first) != pixels(second):
        fail("the pixels differ")


def comment(source, target):
    data = read(source)
    with open(target, "wb") as file:
        file.write(data[:2] + b"\xff\xfe\0\x0aa remark" + data[2:])


def held(source, target, lethefs, mount):
    data = read(source)
    half = len(data) // 2
    with open(target, "wb", buffering=0) as file:
        file.write(data[:half])
        os.fsync(file.fileno())
        subprocess.run([lethefs, "sync", mount], check=True)
        file.write(data[half:])
        os.fsync(file.fileno())
        subprocess.run([lethefs, "sync", mount], check=True)
        if read(target) != data:
            fail("a file that is being written changed under its writer")


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
