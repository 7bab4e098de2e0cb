#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
check_photos.py GOLDEN [NAME...]: restores every golden photo from its vectors. One effort of each photo; both with
LETHE_LONG=1 or when it is named.
"""

import os
import sys
import time

import network
import photo


def load(*path):
    try:
        with open(os.path.join(*path), "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def main(golden, names):
    pair = network.Pair(load(golden, "golden.pair"))
    photos = sorted(n for n in os.listdir(os.path.join(golden, "photos")) if not n.startswith("."))
    failed = checked = 0
    began = time.time()

    def check(what, original, *parts):
        nonlocal failed, checked
        checked += 1
        if photo.restore(pair, *parts) != original:
            print("%s: NOT EQUAL" % what)
            failed += 1

    for number, name in enumerate(photos):
        if names and name not in names:
            continue
        parts = {s: load(golden, "vectors", "%s.%s" % (name, s)) for s in
                 ("artifact", "view", "fast", "strong", "recipe", "lossy", "lossy-recipe", "reason")}
        if parts["reason"]:
            continue
        original = load(golden, "photos", name)
        artifact = parts["view"] or parts["artifact"]
        for i, effort in enumerate(("fast", "strong")):
            if names or os.environ.get("LETHE_LONG") or number % 2 == i:
                check("%s, %s" % (name, effort), original, artifact, parts[effort], parts["recipe"])
        if parts["lossy"]:
            check("%s, lossy" % name, parts["lossy"], artifact, None, parts["lossy-recipe"])
    print("%d restored, %d not, in %.1f s" % (checked - failed, failed, time.time() - began))
    return 1 if failed or not checked else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
