# SPDX-License-Identifier: MIT
"""A vault in a folder: KEYS, SEALED OBJECTS, VAULT.JSON, HEAD, JOURNAL, TABLES, to the files that it holds."""

import json
import os
import struct

import aead
import argon2
import network
import noise_png
import photo
import zstd
from wire import H, Malformed, Reader, combine, derive, require

ARTIFACT, RESIDUAL, SEGMENT, PACK, SNAPSHOT, JOURNAL, HEAD, PAIR = range(1, 9)
PLAIN, PADDED, PICTURE = range(3)
NONE = bytes(16)


def recovery_phrase(text):
    """The device secret of a phrase."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = count = 0
    for character in text.upper():
        if character in " \t\r\n-":
            continue
        character = {"O": "0", "I": "1", "L": "1"}.get(character, character)
        require(character in alphabet, "a character that no phrase has")
        value = value << 5 | alphabet.index(character)
        count += 1
    require(count == 56, "a phrase of another length")
    secret, checksum = value.to_bytes(35, "big")[:32], value.to_bytes(35, "big")[32:]
    require(checksum == H(b"lethefs recovery phrase v1", secret)[:3], "a phrase with a mistake")
    return secret


def padme(length):
    e = length.bit_length() - 1
    s = e.bit_length()
    if s >= e:
        return length
    unit = 1 << (e - s)
    return -(-length // unit) * unit


def body_size(shape, length):
    if shape == PADDED:
        return padme(8 + length)
    return noise_png.capacity(padme(8 + length) + 40) - 40


def open_object(root, vault, kind, shape, id, content, position, sealed):
    key = derive(root, "lethefs object v1", vault + bytes([kind]) + id)
    associated = struct.pack("<IBBH", 1, kind, shape, 0) + vault + id + content + struct.pack("<Q", position)
    body = aead.open(key, sealed, associated)
    if shape == PLAIN:
        return body
    reader = Reader(body)
    length = reader.u64()
    require(length <= len(body) - 8 and len(body) == body_size(shape, length), "a body of another size")
    payload = reader.take(length)
    require(not any(reader.rest()), "padding that is not zero")
    return payload


class Folder:
    """A directory as a vault."""

    def __init__(self, path):
        self.path = path

    def get(self, name):
        with open(os.path.join(self.path, name), "rb") as file:
            return file.read()

    def newest(self, name):
        versions = [n for n in os.listdir(self.path) if n.startswith(name + ".") and n[len(name) + 1 :].isdigit()]
        return self.get(max(versions) if versions else name)


FIDELITIES = ("exact", "split", "lossy")


class VaultFile:
    def __init__(self, text):
        values = json.loads(text.decode("ascii"))
        require(values["format"] == "lethefs-vault" and values["version"] == 1, "a newer vault")
        require(self._text(values) == text, "a vault.json that is not as written")
        self.values = values
        self.id = bytes.fromhex(values["id"])
        self.generation = values["generation"]
        self.second = bytes.fromhex(values["second"])
        self.slots = values["slots"]

    @staticmethod
    def _text(values):
        return (json.dumps(values, indent=2) + "\n").encode()

    def parameters(self, slot):
        cost = struct.pack("<II", slot["memory_mib"], slot["passes"])
        return self.id + bytes.fromhex(slot["id"]) + cost + bytes.fromhex(slot["salt"])

    def stretched(self, slot, passphrase):
        require(16 <= slot["memory_mib"] <= 4096 and 1 <= slot["passes"] <= 16, "impossible costs")
        return argon2.argon2id(passphrase, bytes.fromhex(slot["salt"]), slot["memory_mib"] << 10, slot["passes"], 1, 32)

    def unlock(self, stretched, device_secret):
        """The master key; stretched(slot) is Argon2id of the passphrase."""
        for slot in self.slots:
            parameters = self.parameters(slot)
            kek = derive(device_secret, "lethefs slot v1", stretched(slot) + parameters)
            if derive(kek, "lethefs slot commitment v1").hex() != slot["commitment"]:
                continue
            master = aead.open(derive(kek, "lethefs slot wrap v1"), bytes.fromhex(slot["wrapped"]), parameters)
            require(self.mac(master).hex() == self.values["mac"], "a vault.json whose MAC is wrong")
            return master
        raise Malformed("no slot opens")

    def mac(self, master):
        v = self.values
        encoding = struct.pack("<I", 1) + self.id + struct.pack("<Qq", self.generation, v["created"])
        encoding += bytes([FIDELITIES.index(v["fidelity"]), v["strength"], v["pairs"] == "vault"])
        encoding += self.second + bytes([len(self.slots)])
        for slot in self.slots:
            label = slot["label"].encode()
            encoding += bytes.fromhex(slot["id"]) + bytes([len(label)]) + label + struct.pack("<q", slot["created"])
            encoding += struct.pack("<II", slot["memory_mib"], slot["passes"])
            encoding += bytes.fromhex(slot["salt"] + slot["wrapped"] + slot["commitment"])
        return H(encoding, key=derive(master, "lethefs vault file v1", self.id))


# Columns of the primary key come first.
TABLES = {
    "inode": (1, "ino mode uid gid nlink rdev size atime mtime ctime content target".split()),
    "dentry": (2, "parent name ino cookie".split()),
    "xattr": (2, "ino name value".split()),
    "content": (1, "id size kind reason digest width height error samples pair alone".split()),
    "piece": (2, "content seq kind start length object offset stored origin position".split()),
    "object": (1, "id kind size refs dead".split()),
}
SETS = {1: ("inode", "dentry", "xattr"), 2: ("content", "piece", "object")}
UNTOLD = object()


class Rows:
    """The tables: rows by their primary key."""

    def __init__(self):
        self.tables = {name: {} for name in TABLES}

    def load(self, raw):
        reader = Reader(raw)
        names = list(TABLES)
        while reader.left():
            name = names[reader.u8()]
            row = []
            for _ in TABLES[name][1]:
                kind = reader.u8()
                require(kind <= 2, "an unknown kind of value")
                if kind == 0:
                    row.append(None)
                elif kind == 1:
                    v = reader.varint()
                    row.append(v >> 1 ^ -(v & 1))
                else:
                    row.append(reader.block())
            self._insert(name, row)

    def _insert(self, name, row):
        key = tuple(row[: TABLES[name][0]])
        require(key not in self.tables[name], "a row that is there already")
        self.tables[name][key] = row

    def apply(self, changeset, allowed):
        reader = Reader(changeset)
        while reader.left():
            require(reader.u8() == 0x54, "no table of a changeset")
            columns = sqlite_varint(reader)
            keys = [reader.u8() != 0 for _ in range(columns)]
            name = b""
            while not name.endswith(b"\0"):
                name += reader.take(1)
            name = name[:-1].decode()
            known = name in allowed
            if known:
                count, names = TABLES[name]
                require(columns == len(names) and keys == [i < count for i in range(columns)], "another table")
            while reader.left() and reader.data[reader.at] != 0x54:
                operation = reader.u8()
                reader.u8()
                require(operation in (0x12, 0x17, 0x09), "an unknown operation")
                old = [sqlite_value(reader) for _ in range(columns)] if operation != 0x12 else None
                new = [sqlite_value(reader) for _ in range(columns)] if operation != 0x09 else None
                if known:
                    self._change(name, old, new)

    def _change(self, name, old, new):
        if old is None:
            self._insert(name, new)
            return
        table = self.tables[name]
        key = tuple(old[: TABLES[name][0]])
        require(key in table, "a row that is missing")
        require(all(o is UNTOLD or o == v for o, v in zip(old, table[key])), "a row that is different")
        if new is None:
            del table[key]
        else:
            table[key] = [v if n is UNTOLD else n for v, n in zip(table[key], new)]

    def rows(self, name):
        names = TABLES[name][1]
        return [dict(zip(names, row)) for row in self.tables[name].values()]


def sqlite_varint(reader):
    value = 0
    for i in range(9):
        byte = reader.u8()
        if i == 8:
            return value << 8 | byte
        value = value << 7 | byte & 127
        if byte < 128:
            return value


def sqlite_value(reader):
    kind = reader.u8()
    if kind == 0:
        return UNTOLD
    if kind == 5:
        return None
    if kind in (1, 2):
        return struct.unpack(">q" if kind == 1 else ">d", reader.take(8))[0]
    require(kind in (3, 4), "an unknown kind of value")
    return reader.take(sqlite_varint(reader))


class Vault:
    def __init__(self, folder, second, master_of, device_secret):
        """master_of(VaultFile) gives the master key; second is the folder of the second store or None."""
        self.folder = Folder(folder)
        self.second = Folder(second) if second else None
        text = self.folder.newest("vault.json")
        self.file = VaultFile(text)
        self.device_secret = device_secret
        self.master = master_of(self.file)
        self.pairs = {}
        if second:
            told = b"lethefs second store " + self.file.second.hex().encode() + b"\n"
            require(self.second.newest("second") == told, "another second store")
        head = Reader(self._open(HEAD, PADDED, NONE, NONE, 0, self.folder.newest("head")))
        require(head.u8() == 1, "a newer head")
        self.epoch, self.segment, self.chain = head.u64(), head.take(16), head.take(32)
        generation, hash = head.u64(), head.take(32)
        require(hash == H(text) or self.file.generation > generation, "a vault.json that the head does not know")
        head.take(8 + 16 + 16)
        head.end()

    def _open(self, kind, shape, id, content, position, sealed):
        root = self.master
        if kind == PAIR:
            root = combine(self.master, self.device_secret, "lethefs pair")
        return open_object(root, self.file.id, kind, shape, id, content, position, sealed)

    def _object(self, kind, id):
        """The sealed bytes of a whole object."""
        store = self.second if self.second and kind in (RESIDUAL, SEGMENT, PACK) else self.folder
        if kind == ARTIFACT:
            return noise_png.unwrap(store.get("a/%s/%s.png" % (id.hex()[:2], id.hex())))
        return store.get("o/%s/%s" % (id.hex()[:2], id.hex()))

    def _parts(self, kind, owner, reader):
        raw = b""
        for i in range(reader.varint()):
            id, size = reader.take(16), reader.u64()
            sealed = self._object(kind, id)
            require(len(sealed) == size, "an object of another size")
            part = Reader(self._open(kind, PADDED, id, owner, i + 1, sealed))
            length = part.u32()
            require(length <= 260 << 20, "a part that is too large")
            raw += zstd.decompress(part.rest(), length)
        return raw

    def _segment(self, epoch, id, chain):
        """A journal segment: what it tells, and the one before it."""
        sealed = self.folder.get("j/%016x-%s" % (epoch, id.hex()))
        reader = Reader(self._open(JOURNAL, PADDED, id, NONE, epoch, sealed))
        require(reader.u8() == 1, "a newer segment")
        require(reader.u64() == epoch, "a segment of another epoch")
        reader.i64()
        cut, published = reader.u64(), reader.u64()
        before, chain_before = reader.take(16), reader.take(32)
        snapshot = reader.u64(), reader.u64(), reader.take(16)
        require(H(chain_before, H(sealed)) == chain, "a chain that is broken")
        records = self._parts(JOURNAL, id, reader)
        reader.end()
        return before, chain_before, snapshot, records, cut, published

    def rows(self):
        """The tables as of the head."""
        rows = Rows()
        epoch, id, chain = self.epoch, self.segment, self.chain
        pending, snapshot = [], None
        while epoch:
            before, chain, told, records, cut, published = self._segment(epoch, id, chain)
            snapshot = snapshot or told
            pending.append((records, cut, published))
            epoch, id = epoch - 1, before
            if snapshot[0] and epoch + 1 == snapshot[0]:
                break
        seen = 0
        if snapshot and snapshot[0]:
            seen = snapshot[1]
            root = Reader(self._open(SNAPSHOT, PADDED, snapshot[2], NONE, 0, self._object(SNAPSHOT, snapshot[2])))
            require(root.u8() == 1, "a newer snapshot")
            require((root.u64(), root.u64()) == snapshot[:2], "a snapshot of another epoch")
            rows.load(self._parts(SNAPSHOT, snapshot[2], root))
            root.end()
        else:
            require(chain == H(self.file.id), "a chain that does not begin with the vault")
        for records, cut, published in reversed(pending):
            reader = Reader(records)
            while reader.left():
                which, number, changeset = reader.u8(), reader.varint(), reader.block()
                require(which in SETS and number <= (cut if which == 1 else published), "a record that is out of order")
                if number > seen:
                    rows.apply(changeset, SETS[which])
        return rows

    def pair(self, id):
        if id not in self.pairs:
            name = derive(self.master, "lethefs pair id", id)[:16]
            self.pairs[id] = network.Pair(self._open(PAIR, PADDED, name, id, 0, self._object(PAIR, name)))
            require(self.pairs[id].id == id, "another pair")
        return self.pairs[id]

    def files(self):
        """{path: (inode row, xattrs, bytes of a regular file or None)}"""
        rows = self.rows()
        inodes = {row["ino"]: row for row in rows.rows("inode")}
        contents = {row["id"]: row for row in rows.rows("content")}
        objects = {row["id"]: row for row in rows.rows("object")}
        pieces, entries, xattrs = {}, {}, {}
        for row in rows.rows("piece"):
            pieces.setdefault(row["content"], []).append(row)
        for row in rows.rows("dentry"):
            entries.setdefault(row["parent"], []).append(row)
        for row in rows.rows("xattr"):
            xattrs.setdefault(row["ino"], {})[bytes(row["name"])] = bytes(row["value"])
        out = {}

        def walk(ino, path):
            for entry in entries.get(ino, []):
                inode = inodes[entry["ino"]]
                at = path + bytes(entry["name"])
                content = None
                if inode["mode"] & 0o170000 == 0o100000:
                    row = contents.get(inode["content"]) if inode["content"] else None
                    content = self._content(row, pieces.get(row["id"], []), objects) if row else bytes(inode["size"])
                out[at] = inode, xattrs.get(entry["ino"], {}), content
                if inode["mode"] & 0o170000 == 0o040000:
                    walk(entry["ino"], at + b"/")

        walk(1, b"")
        return out

    def _piece(self, piece, objects):
        kind = objects[piece["object"]]["kind"]
        sealed = self._object(kind, piece["object"])
        if kind == PACK:
            sealed = sealed[piece["offset"] : piece["offset"] + piece["stored"]]
            position, shape = piece["position"], PLAIN
        else:
            position, shape = piece["position"], PICTURE if kind == ARTIFACT else PADDED
        require(len(sealed) == piece["stored"] or kind == ARTIFACT, "a piece of another size")
        return self._open(kind, shape, piece["object"], piece["origin"], position, sealed)

    def _content(self, content, pieces, objects):
        if content["kind"] == 1:
            parts = {piece["kind"]: self._piece(piece, objects) for piece in pieces}
            pair = self.pair(content["pair"])
            out = photo.restore(pair, parts[1], parts.get(2), parts[3])
            require(len(out) == content["size"], "a photo of another size")
            return out
        out = bytearray(content["size"])
        for piece in pieces:
            require(piece["kind"] != 6, "bytes that were lost before they were sealed")
            payload = self._piece(piece, objects)
            if piece["kind"] == 5:
                payload = zstd.decompress(payload, piece["length"])
            require(len(payload) == piece["length"], "a segment of another length")
            out[piece["start"] : piece["start"] + piece["length"]] = payload
        require(len(out) == content["size"], "a segment behind the end")
        return bytes(out)
