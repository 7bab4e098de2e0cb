# SPDX-License-Identifier: MIT
"""PHOTOS: a file of its artifact, residual and recipe."""

from operator import mul
import math

import artifact as artifacts
import coefs
import jpeg
import png
import samples
from wire import Reader, require


def restore(pair, artifact_payload, residual, recipe):
    """residual is None in fidelity lossy."""
    artifact = artifacts.Artifact(artifact_payload)
    planes = artifacts.picture(artifact, pair)
    reader = None
    if residual is not None:
        reader = Reader(residual)
        require(reader.u8() == 1, "a newer residual")
        require(reader.u8() == artifact.container, "a residual of another container")
        reader.take(8)  # an XXH3 of the artifact: it finds accidents, and the hash of the file finds more
    if artifact.container == artifacts.JPEG:
        return _jpeg(artifact, planes, reader, recipe)
    if reader:
        planes = samples.decode(reader, planes, artifact.depth)
    elif artifact.depth == 16:
        planes = [[[257 * n for n in row] for row in plane] for plane in planes]
    return png.rebuild(recipe, planes)


def _jpeg(artifact, planes, reader, recipe_bytes):
    recipe = jpeg.Recipe(recipe_bytes)
    components = []
    for i, quant in enumerate(recipe.quant):
        blocks_w, blocks_h = artifacts.blocks(artifact, i)
        xhat = artifacts.component(artifact, planes, i)
        components.append(coefs.Component(blocks_w, blocks_h, artifact.factors[i][1], quant, xhat))
    if reader:
        coefs.decode(reader, components)
    else:
        for component in components:
            _transform(component)
    return recipe.rebuild(lambda i, x, y: components[i].coefficients[x, y])


_T = [[2896] * 8] + [[round(4096 * math.cos((2 * x + 1) * u * math.pi / 16)) for x in range(8)] for u in range(1, 8)]


def _transform(component):
    """The forward DCT of xhat, for a photo without a residual."""
    for by in range(component.blocks_h):
        for bx in range(component.blocks_w):
            block = [[n - 128 for n in row[8 * bx : 8 * bx + 8]] for row in component.xhat[8 * by : 8 * by + 8]]
            w = [[(sum(map(mul, t, row)) + 512) >> 10 for row in block] for t in _T]  # [u][y]
            F = []
            for v in range(8):
                for u in range(8):
                    a, q = sum(map(mul, _T[v], w[u])), component.quant[8 * v + u]
                    n = min((abs(a) + (q << 15)) // (q << 16), 1023 if u or v else 1024)
                    F.append(-n if a < 0 else n)
            component.coefficients[bx, by] = F
