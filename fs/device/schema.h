/* SPDX-License-Identifier: MIT */
/*
 * The tables. Times are nanoseconds since 1970 (signed 64 bits). Ids are 16-byte blobs. Changing a journaled table
 * changes the vault's format.
 *
 * Journaled, session "tree":
 *   inode    what the vault's next epoch says of a file. A file that is open for writing lags behind: its live
 *            size, times and content stand in the device's table working until the cut. rdev of a directory is its
 *            parent's inode number (the root's: 1).
 *   dentry   cookie grows with every entry ever made and is the readdir offset.
 * Journaled, session "vault":
 *   content  how a content is stored: kind 0 segments, 1 photo, 2 packed; reason: enum lethe_reason;
 *            digest: of the photo's pixels (lethe_photo_info); error, samples: lethe_photo_quality; alone: bytes of
 *            the file that its artifact makes alone (fidelity split).
 *   piece    the objects of a content, by seq. kind: 1 artifact, 2 residual, 3 recipe, 4 segment (raw), 5 segment
 *            (zstd), 6 bytes that were lost. start, length: the range of the content's bytes (segments); offset, stored: where the sealed
 *            bytes lie in the object (whole objects: 0 and the object's size); origin, position: content id and
 *            position in the associated data.
 *   object   every object that some kept epoch needs: kind as enum lethe_object_kind, size in the backend, refs the
 *            number of pieces, dead the epoch from which on nothing names it (0: in use).
 * The device's own: working, local, chunk, slots, dead, upload, epoch, changeset, config.
 */
#ifndef LETHE_FS_DEVICE_SCHEMA_H
#define LETHE_FS_DEVICE_SCHEMA_H

#define LETHE_SCHEMA_VERSION 2

#define LETHE_SCHEMA_TREE \
    "CREATE TABLE inode(ino INTEGER PRIMARY KEY, mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL," \
    " nlink INTEGER NOT NULL, rdev INTEGER NOT NULL, size INTEGER NOT NULL, atime INTEGER NOT NULL," \
    " mtime INTEGER NOT NULL, ctime INTEGER NOT NULL, content BLOB, target BLOB);" \
    "CREATE TABLE dentry(parent INTEGER NOT NULL, name BLOB NOT NULL, ino INTEGER NOT NULL, cookie INTEGER NOT NULL," \
    " PRIMARY KEY(parent, name)) WITHOUT ROWID;" \
    "CREATE INDEX dentry_cookie ON dentry(parent, cookie);" \
    "CREATE TABLE xattr(ino INTEGER NOT NULL, name BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY(ino, name))" \
    " WITHOUT ROWID;"

#define LETHE_SCHEMA_VAULT \
    "CREATE TABLE content(id BLOB PRIMARY KEY, size INTEGER NOT NULL, kind INTEGER NOT NULL, reason INTEGER NOT NULL," \
    " digest BLOB, width INTEGER, height INTEGER, error INTEGER, samples INTEGER, pair BLOB," \
    " alone INTEGER) WITHOUT ROWID;" \
    "CREATE INDEX content_digest ON content(digest) WHERE digest IS NOT NULL;" \
    "CREATE TABLE piece(content BLOB NOT NULL, seq INTEGER NOT NULL, kind INTEGER NOT NULL, start INTEGER NOT NULL," \
    " length INTEGER NOT NULL, object BLOB NOT NULL, offset INTEGER NOT NULL, stored INTEGER NOT NULL," \
    " origin BLOB NOT NULL, position INTEGER NOT NULL, PRIMARY KEY(content, seq)) WITHOUT ROWID;" \
    "CREATE INDEX piece_object ON piece(object);" \
    "CREATE TABLE object(id BLOB PRIMARY KEY, kind INTEGER NOT NULL, size INTEGER NOT NULL, refs INTEGER NOT NULL," \
    " dead INTEGER NOT NULL) WITHOUT ROWID;" \
    "CREATE INDEX object_dead ON object(dead) WHERE dead > 0;"

/*
 * local.state: 0 mutable, 1 frozen (to be sealed for the epoch of column epoch), 2 vaulted.
 * local.base: the content whose blocks stand in where this one has none of its own and no hole, else NULL.
 * chunk.map: one entry for each of the 64 blocks of 16 KiB of chunk idx (layout: fs/device/content.c).
 * slots: reference counts of a group of slots of arena 0 (state folder) or 1 (cache folder).
 * dead: contents that no live inode names any more; forgotten once epoch is published.
 * upload: segments of contents that are not recorded yet, whose objects are in the vault: a run that breaks off goes on
 *   from there. kind as in piece.
 * epoch: state 0 cut, 1 intent (segment stored, head about to move), 2 published; cut_seq: the last changeset in it.
 */
#define LETHE_SCHEMA_DEVICE \
    "CREATE TABLE working(ino INTEGER PRIMARY KEY, content BLOB, size INTEGER NOT NULL, mtime INTEGER NOT NULL," \
    " ctime INTEGER NOT NULL);" \
    "CREATE TABLE local(content BLOB PRIMARY KEY, state INTEGER NOT NULL, size INTEGER NOT NULL, base BLOB," \
    " epoch INTEGER NOT NULL, used INTEGER NOT NULL, cached INTEGER NOT NULL) WITHOUT ROWID;" \
    "CREATE INDEX local_state ON local(state, epoch);" \
    "CREATE INDEX local_used ON local(used) WHERE cached > 0;" \
    "CREATE INDEX local_base ON local(base) WHERE base IS NOT NULL;" \
    "CREATE TABLE chunk(content BLOB NOT NULL, idx INTEGER NOT NULL, map BLOB NOT NULL, PRIMARY KEY(content, idx))" \
    " WITHOUT ROWID;" \
    "CREATE TABLE slots(arena INTEGER NOT NULL, grp INTEGER NOT NULL, free INTEGER NOT NULL, refs BLOB NOT NULL," \
    " PRIMARY KEY(arena, grp)) WITHOUT ROWID;" \
    "CREATE TABLE dead(content BLOB PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;" \
    "CREATE TABLE upload(content BLOB NOT NULL, start INTEGER NOT NULL, length INTEGER NOT NULL, kind INTEGER NOT NULL," \
    " object BLOB NOT NULL, stored INTEGER NOT NULL, PRIMARY KEY(content, start)) WITHOUT ROWID;" \
    "CREATE INDEX upload_object ON upload(object);" \
    "CREATE TABLE epoch(n INTEGER PRIMARY KEY, state INTEGER NOT NULL, cut_seq INTEGER NOT NULL," \
    " time INTEGER NOT NULL, segment BLOB, hash BLOB);" \
    "CREATE TABLE changeset(seq INTEGER PRIMARY KEY, tree BLOB, vault BLOB);" \
    "CREATE TABLE config(key TEXT PRIMARY KEY, value) WITHOUT ROWID;"

#endif
