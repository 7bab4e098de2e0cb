# SPDX-License-Identifier: MIT
"""SAMPLES: the exact samples of a PNG given xhat. The bands are in samples_fast, samples_strong and samples_screen."""

from wire import require
import samples_fast
import samples_screen
import samples_strong


class Band:
    """What bands are told: rows of xhat for each channel in coding order, and the channels' kinds."""

    def __init__(self, xhat, order, ranges, depth, colour, first_row, rows):
        self.xhat = xhat  # of the whole picture, in coding order
        self.order = order  # what channel of the picture each is
        self.ranges = ranges  # [low, high] of each
        self.depth = depth
        self.colour = colour
        self.first_row, self.rows = first_row, rows
        self.width = len(xhat[0][0])
        self.alpha = len(xhat) in (2, 4)  # then it comes first


def ycocg(r, g, b):
    co = r - b
    t = b + (co >> 1)
    cg = g - t
    return t + (cg >> 1), co, cg


def rgb(y, co, cg):
    t = y - (cg >> 1)
    g = cg + t
    b = t - (co >> 1)
    return b + co, g, b


def decode(reader, xhat, depth):
    """xhat: a plane of 8-bit rows for each channel. Gives planes of rows of samples; takes reader to its end."""
    channels, height = len(xhat), len(xhat[0])
    kind, colour, rows = reader.u8(), reader.u8(), reader.varint()
    widening, kind = kind >> 2, kind & 3
    require(kind <= 2 and colour <= 1, "an unknown kind or colour")
    require(widening <= (2 if depth == 16 else 0), "a widening that is impossible")
    depth = 8 if widening else depth
    require(not colour or (channels >= 3 and kind < 2), "colour where there is none")
    require(min(64, height) <= rows <= height, "bands of an impossible height")
    lengths = [reader.varint() for _ in range(0, height, rows)]

    top = (1 << depth) - 1
    planes = [[[257 * n for n in row] if depth == 16 else list(row) for row in plane] for plane in xhat]
    ranges = [(0, top)] * channels
    if colour:
        triples = [[ycocg(*p) for p in zip(*rows3)] for rows3 in zip(*planes[:3])]
        planes[:3] = [[[p[i] for p in row] for row in triples] for i in range(3)]
        ranges[1] = ranges[2] = (-top, top)
    order = list(range(channels))
    if channels in (2, 4) and kind < 2:
        order = order[-1:] + order[:-1]

    out = [[] for _ in range(channels)]
    for i, length in enumerate(lengths):
        band = Band(
            [planes[c] for c in order], order, [ranges[c] for c in order], depth, colour,
            i * rows, min(rows, height - i * rows),
        )
        decoded = (samples_fast, samples_strong, samples_screen)[kind].decode(reader.take(length), band)
        for c, plane in zip(order, decoded):
            out[c] += plane
    reader.end()
    if colour:
        triples = [[rgb(*p) for p in zip(*rows3)] for rows3 in zip(*out[:3])]
        out[:3] = [[[p[i] for p in row] for row in triples] for i in range(3)]
    require(all(0 <= n <= top for plane in out for row in plane for n in row), "a sample out of range")
    if widening:
        out = [[[(257, 256)[widening - 1] * n for n in row] for row in plane] for plane in out]
    return out
