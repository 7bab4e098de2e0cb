# SPDX-License-Identifier: MIT
"""Random operations on a mount, and the same on a plain folder that says what the mount must hold.

usage: worker.py MOUNT MODEL SEED OPERATIONS SAMPLES
"""
import os
import random
import shutil
import sys

mount, model, seed, operations, samples = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
dice = random.Random(seed)
pictures = [f"{samples}/{name}" for name in ("landscape-1.jpg", "sprite-1.png", "landscape-2.png")]


def both(act, *names):
    for top in (model, mount):
        act(*[f"{top}/{name}" for name in names])


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def patch(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


for n in range(operations):
    names = sorted(os.listdir(model))
    what, name, new = dice.randrange(10), dice.choice(names) if names else None, f"{seed}-{n}"
    if what < 2 or name is None:
        data = dice.randbytes(dice.choice([0, 10, 5000, 70000, 900000]))
        both(lambda path: write(path, data), new)
    elif what == 2:
        at, data = dice.randrange(os.path.getsize(f"{model}/{name}") + 1), dice.randbytes(3000)
        both(lambda path: patch(path, at, data), name)
    elif what == 3:
        size = dice.randrange(100000)
        both(lambda path: os.truncate(path, size), name)
    elif what == 4:
        both(os.rename, name, new)
    elif what == 5:
        both(os.unlink, name)
    elif what == 6:
        picture = dice.choice(pictures)
        both(lambda path: shutil.copyfile(picture, path), new)
    elif what == 7:
        data = dice.randbytes(20000)
        both(lambda path: write(path, data), name + ".tmp")
        both(os.replace, name + ".tmp", name)
    else:
        assert read(f"{mount}/{name}") == read(f"{model}/{name}"), f"operation {n}: {name} differs"
assert sorted(os.listdir(mount)) == sorted(os.listdir(model)), "the names differ"
