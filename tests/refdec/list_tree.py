#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""list_tree.py FOLDER: a line for each name in it: type and mode, links, size, mtime, hash or target, xattrs, name."""

import hashlib
import os
import stat
import sys


def line(path, mode, nlink, size, mtime, told, xattrs):
    told_xattrs = ",".join("%s=%s" % (k.decode(), v.hex()) for k, v in sorted(xattrs.items())) or "-"
    size = size if stat.S_ISREG(mode) else "-"
    nlink = nlink if stat.S_ISREG(mode) else "-"
    return "%o %s %s %d %s %s %s" % (mode, nlink, size, mtime, told or "-", told_xattrs, os.fsdecode(path))


def digest(content):
    return hashlib.blake2b(content, digest_size=32).hexdigest()


def main(root):
    lines = []
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in folders + files:
            path = os.path.join(folder, name)
            info = os.lstat(path)
            told, xattrs = None, {}
            if stat.S_ISLNK(info.st_mode):
                told = os.readlink(path).hex()
            elif stat.S_ISREG(info.st_mode):
                with open(path, "rb") as file:
                    told = digest(file.read())
            for key in os.listxattr(path, follow_symlinks=False):
                xattrs[os.fsencode(key)] = os.getxattr(path, key, follow_symlinks=False)
            at = os.path.relpath(path, os.fsencode(root))
            lines.append((at, line(at, info.st_mode, info.st_nlink, info.st_size, info.st_mtime_ns, told, xattrs)))
    for _, text in sorted(lines):
        print(text)


if __name__ == "__main__":
    main(sys.argv[1])
