# SPDX-License-Identifier: MIT
"""PHOTOS: the artifact's payload, and xhat, the Decrypter's idea of each channel or component."""

from wire import Reader, clamp, require
import latents
import network

PNG, JPEG = 1, 2
GREY, YCBCR, RGB, CMYK, YCCK = range(5)


class Artifact:
    def __init__(self, payload):
        reader = Reader(payload)
        require(reader.u8() == 1, "a newer artifact")
        self.container = reader.u8()
        require(self.container in (PNG, JPEG), "a container that is neither PNG nor JPEG")
        self.width, self.height = reader.varint(), reader.varint()
        bits = 31 if self.container == PNG else 16
        require(0 < self.width < 1 << bits and 0 < self.height < 1 << bits, "an impossible size")
        self.channels = reader.u8()
        require(1 <= self.channels <= 4, "an impossible number of channels")
        self.depth = reader.u8()
        require(self.depth in ((8, 16) if self.container == PNG else (8,)), "an impossible depth")
        self.colour = None
        self.factors = []
        if self.container == JPEG:
            self.colour = reader.u8()
            require(self.colour <= YCCK, "an impossible colour")
            for _ in range(self.channels):
                factors = reader.u8()
                self.factors.append((factors >> 4, factors & 15))
                require(all(1 <= f <= 4 for f in self.factors[-1]), "an impossible sampling factor")
        self.pair = reader.take(16)
        self.strength = reader.u8()
        require(self.strength <= 3, "an impossible strength")
        self.groups = []
        for _ in range(2 if self.channels in (2, 4) else 1):
            group = Reader(reader.block())
            self.groups.append(latents.decode(group, self.width, self.height))
            group.end()
        self.without_view = payload[: reader.at]
        self.view = reader.block() if reader.left() else None
        reader.end()


def _rgb(planes):
    """Rows of Y, Cb, Cr to rows of red, green, blue."""
    out = [[], [], []]
    for rows in zip(*planes):
        R, G, B = bytearray(), bytearray(), bytearray()
        for Y, Cb, Cr in zip(*rows):
            y, b, r = Y - 256, Cb - 128, Cr - 128
            R.append(clamp(y + ((91881 * r + (1 << 24) + (1 << 15)) >> 16), 0, 255))
            G.append(clamp(y + ((-22554 * b - 46802 * r + (1 << 24) + (1 << 15)) >> 16), 0, 255))
            B.append(clamp(y + ((116130 * b + (1 << 24) + (1 << 15)) >> 16), 0, 255))
        for plane, row in zip(out, (R, G, B)):
            plane.append(bytes(row))
    return out


def picture(artifact, pair):
    """The Decrypter's picture: a plane of 8-bit rows for each channel."""
    require(artifact.pair == pair.id, "another pair")
    decoded = [network.decrypt(pair, group) for group in artifact.groups]
    if artifact.channels <= 2:
        planes = [decoded[0][0]]
    else:
        converted = artifact.container == PNG or artifact.colour in (RGB, CMYK)
        planes = _rgb(decoded[0]) if converted else decoded[0]
    if len(decoded) == 2:
        planes.append(decoded[1][0])
    return planes


def component(artifact, planes, i):
    """xhat of a JPEG's component, up to whole blocks: 8 blocks_w by 8 blocks_h samples."""
    hmax, vmax = (max(f[n] for f in artifact.factors) for n in (0, 1))
    h, v = artifact.factors[i]
    width, height = -(-artifact.width * h // hmax), -(-artifact.height * v // vmax)
    blocks_w, blocks_h = blocks(artifact, i)
    plane = planes[i]
    out = []

    def spans(count, factor, most, size):
        for n in range(count):
            first = min(-(-n * most // factor), size - 1)
            yield first, max(first + 1, min(-(-(n + 1) * most // factor), size))

    columns = list(spans(width, h, hmax, artifact.width))
    for top, bottom in spans(height, v, vmax, artifact.height):
        row = bytearray()
        for first, last in columns:
            count = (last - first) * (bottom - top)
            row.append((2 * sum(sum(r[first:last]) for r in plane[top:bottom]) + count) // (2 * count))
        out.append(bytes(row) + row[-1:] * (8 * blocks_w - width))
    return out + [out[-1]] * (8 * blocks_h - height)


def blocks(artifact, i):
    """Blocks in a row, and rows of blocks, of a JPEG's component."""
    hmax, vmax = (max(f[n] for f in artifact.factors) for n in (0, 1))
    h, v = artifact.factors[i]
    return -(-artifact.width // (8 * hmax)) * h, -(-artifact.height // (8 * vmax)) * v
