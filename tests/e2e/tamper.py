# SPDX-License-Identifier: MIT
"""Changes copies of a vault, one change at a time, and judges check --deep and a fresh device against the originals."""
import json
import os
import random
import shutil
import subprocess
import sys

import objects

lethefs, work, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rounds = int(sys.argv[4])
rng = random.Random(seed)
good, older, stranger, src = (f"{work}/{n}" for n in ("good", "older", "stranger", "src"))
vault, mnt = f"{work}/tampered", f"{work}/mnt"
# The folder is the vault, or says what the bucket must hold.
location = sys.argv[5] if sys.argv[5].startswith("s3://") else vault
bucket = objects.vault(location)
published = {}
common = ["--passfile", f"{work}/pass"]


def run(*words):
    done = subprocess.run([lethefs, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120)
    return done.returncode, done.stderr.strip()


def tree(top):
    return sorted(os.path.relpath(os.path.join(at, f), top) for at, _, files in os.walk(top) for f in files)


def needed():
    """object -> the pieces of it that files need: (offset, end, name of the file)"""
    needs, text, decoder = {}, open(f"{work}/inspected").read(), json.JSONDecoder()
    while text.strip():
        text = text.lstrip()
        entry, end = decoder.raw_decode(text)
        text = text[end:]
        for piece in entry["objects"]:
            needs.setdefault(piece["object"], set()).add(
                (piece["offset"], piece["offset"] + piece["stored"], os.path.basename(entry["path"])))
    return needs


needs = needed()
files = [f for f in tree(good) if not f.startswith("tmp/")]
assert all(o in files for o in needs), "inspect names an object that is not there"
originals = {f: open(f"{src}/{f}", "rb").read() for f in tree(src)}


def write(name, data):
    """As an attacker of the folder would: the linked twin of a versioned file is another file."""
    path = f"{vault}/{name}"
    if os.path.exists(path):
        os.unlink(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def read(name):
    return open(f"{vault}/{name}", "rb").read()


def flip(name):
    data = bytearray(read(name))
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    write(name, bytes(data))


def cut(name):
    data = read(name)
    write(name, data[:rng.choice([0, 1, len(data) // 2, len(data) - 1, rng.randrange(len(data))])])


def lengthen(name):
    write(name, read(name) + rng.choice([b"\0", b"x", rng.randbytes(rng.randint(1, 5000))]))


def publish():
    """Brings the bucket to what the folder says."""
    if location == vault:
        return
    wanted = {name: read(name) for name in tree(vault)}
    for name in set(published or bucket.keys()) - set(wanted):
        bucket.remove(name)
    for name, data in wanted.items():
        if published.get(name) != data:
            bucket.put(name, data)
    published.clear()
    published.update(wanted)


def hurt_by(name):
    """Files that need what was changed. A pack ends in zeros that nobody needs, sealed to fill it up."""
    was, now = open(f"{good}/{name}", "rb").read(), read(name) if os.path.exists(f"{vault}/{name}") else b""
    return {file for at, end, file in needs.get(name, ()) if len(was) != len(now) or was[at:end] != now[at:end]}


def twins(name):
    return [f for f in files if f != name and f.split("/")[0] == name.split("/")[0]]


def swap(name):
    other = rng.choice(twins(name) or files)
    a, b = read(name), read(other)
    write(name, b)
    write(other, a)
    return {other}


def remove(name):
    os.unlink(f"{vault}/{name}")


def zero(name):
    data = read(name)
    at = rng.randrange(len(data))
    write(name, data[:at] + bytes(min(len(data) - at, rng.randint(1, 64))) + data[at + 64:])


def foreign(name):
    pool = [f for f in tree(stranger) if f.split("/")[0] == name.split("/")[0]] or tree(stranger)
    write(name, open(f"{stranger}/{rng.choice(pool)}", "rb").read())


def replay(name):
    pool = [f for f in tree(older) if f.split("/")[0].split(".")[0] == name.split("/")[0].split(".")[0]] or tree(older)
    write(name, open(f"{older}/{rng.choice(pool)}", "rb").read())


def inject(name):
    folder = os.path.dirname(name)
    write(os.path.join(folder, rng.randbytes(16).hex() + (".png" if name.endswith(".png") else "")), read(name))
    return None


def garbage(name):
    write(name, rng.randbytes(os.path.getsize(f"{vault}/{name}")))


kinds = [flip, flip, flip, cut, lengthen, swap, remove, zero, foreign, replay, inject, garbage]
counts = {"refused": 0, "found": 0, "without effect": 0}
structural = [f for f in files if f not in needs]
for i in range(rounds):
    kind = kinds[i % len(kinds)]
    name = rng.choice(structural if rng.random() < 0.35 else files)
    what = f"seed {seed} round {i}: {kind.__name__} {name}"
    shutil.rmtree(vault, ignore_errors=True)
    shutil.copytree(good, vault)
    others = kind(name)
    touched = set() if kind is inject else {name} | (others or set())
    touched = {f for f in touched  # put back as it was is no change
               if not os.path.exists(f"{vault}/{f}") or read(f) != open(f"{good}/{f}", "rb").read()}
    hurt = set().union(*(hurt_by(f) for f in touched))
    publish()
    checked, said = run("check", location, "--deep", *common)
    assert checked in (0, 3, 4, 5), f"{what}: check exits {checked}: {said}"
    assert said.count("\n") < 3 or checked == 4, f"{what}: {said}"
    state = ["--state-dir", f"{work}/fresh-state"]
    shutil.rmtree(f"{work}/fresh-state", ignore_errors=True)
    shutil.rmtree(f"{work}/fresh-cache", ignore_errors=True)
    code, said = run("recover", location, "--recovery-file", f"{work}/recovery", *common, *state)
    if code == 0:
        code, said = run("mount", location, mnt, "-o", "ro", "--cache-dir", f"{work}/fresh-cache", *common, *state)
    if code != 0:
        assert code in (3, 4, 5), f"{what}: a fresh device exits {code}: {said}"
        assert said, f"{what}: no word of why"
        assert checked != 0, f"{what}: check found nothing, a fresh device: {said}"
        assert touched & set(structural), f"{what}: the whole vault is refused for one object: {said}"
        counts["refused"] += 1
        continue
    # An older version of the head may still lie beside the newest: who takes that away shows an older vault.
    head_moved = any(f.startswith("head.") for f in touched)
    try:
        failed = set()
        names = tree(mnt)
        for f in names:
            try:
                with open(f"{mnt}/{f}", "rb") as opened:
                    data = opened.read()
            except OSError as e:
                assert e.errno == 5, f"{what}: {f}: {e}"
                failed.add(f)
                continue
            assert data == originals.get(f, data if head_moved else None), f"{what}: {f}: wrong bytes were read"
        # An older head is a consistent older vault: a fresh device cannot know better.
        rolled_back = (kind is replay or head_moved) and names != tree(src)
        assert rolled_back or names == tree(src), f"{what}: the tree changed"
        assert {os.path.basename(f) for f in failed} <= hurt, f"{what}: {failed} cannot be read, of {hurt}"
        assert not failed or checked == 4, f"{what}: check found nothing, but {failed} cannot be read"
        counts["found" if checked else "without effect"] += 1
        if hurt and not rolled_back:
            assert checked == 4, f"{what}: check exits {checked}"
    finally:
        run("umount", mnt)
# The device that wrote it knows which epoch came last: an older vault is refused, whole or in part.
shutil.rmtree(vault)
shutil.copytree(older, vault)
publish()
code, said = run("mount", location, mnt, *common)
assert code == 4, f"a replayed vault: {code}: {said}"
print(f"{rounds} changes: {counts}")
