#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
check_vault.py GOLDEN-VAULT: opens a vault of golden_vault.sh with its passphrase and recovery phrase, and compares all that
it holds with what was put in. What Argon2id makes of the passphrase takes half a minute; so it is kept in the file
stretched, and computed with LETHE_LONG=1 or without that file.
"""

import os
import stat
import sys
import time

import list_tree
import vault


def read(*path):
    with open(os.path.join(*path), "rb") as file:
        return file.read()


def main(golden):
    passphrase = read(golden, "passphrase").rstrip(b"\n")
    device_secret = vault.recovery_phrase(read(golden, "recovery").decode())
    known = os.path.join(golden, "stretched")

    def stretched(file, slot):
        kept = bytes.fromhex(read(known).decode()) if os.path.exists(known) else None
        if kept and not os.environ.get("LETHE_LONG"):
            return kept
        out = file.stretched(slot, passphrase)
        if not kept:
            with open(known, "w") as written:
                written.write(out.hex())
        return out

    began = time.time()
    second = os.path.join(golden, "second")
    opened = vault.Vault(
        os.path.join(golden, "vault"),
        second if os.path.isdir(second) else None,
        lambda file: file.unlock(lambda slot: stretched(file, slot), device_secret),
        device_secret,
    )
    lines = []
    for path, (inode, xattrs, content) in opened.files().items():
        told = None
        size = inode["size"]
        if content is not None:
            told = list_tree.digest(content)
            size = len(content)
        elif stat.S_ISLNK(inode["mode"]):
            told = bytes(inode["target"]).hex()
        lines.append((path, list_tree.line(path, inode["mode"], inode["nlink"], size, inode["mtime"], told, xattrs)))
    text = "".join(line + "\n" for _, line in sorted(lines))
    expected = read(golden, "tree").decode()
    if text != expected:
        print("the vault does not hold what was put in:\n%s\nbut\n%s" % (expected, text))
        return 1
    print("%d names restored in %.1f s" % (len(lines), time.time() - began))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
