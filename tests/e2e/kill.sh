# SPDX-License-Identifier: MIT
# kill -9 of the daemon at random moments of a copy. Afterwards: what was fsynced is there and whole; every block of the
# rest is the new bytes or zeros (a fresh file) or the old bytes (an overwritten one); the vault passes check; device
# and vault agree on the tree after a sync.
. "$(dirname "$0")/lib.sh"

ROUNDS=${LETHE_LONG:+40}
ROUNDS=${ROUNDS:-6}
make_vault
cat >"$WORK/writer.py" <<'P'
"""Writes files into sys.argv[1] until it fails; logs to sys.argv[2] what was fsynced, after the fsync."""
import os, random, sys
folder, log, seed = sys.argv[1], open(sys.argv[2], "a"), int(sys.argv[3])
rng = random.Random(seed)
BLOCK = 16384
def body(name, version, blocks):
    head = f"{name} {version} ".encode()
    return b"".join((head + str(i).encode() + b" ").ljust(BLOCK, b"%") for i in range(blocks))
def put(path, data, how):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | how)
    try:
        os.write(fd, data)
        synced = rng.random() < 0.5
        if synced:
            os.fsync(fd)
    finally:
        os.close(fd)
    return synced
n = 0
try:
    while True:
        name, blocks = f"{seed}-{n}", rng.randint(1, 40)
        path = f"{folder}/{name}"
        kind = rng.choice(["new", "new", "rename", "overwrite"])
        if kind == "new":
            if put(path, body(name, 1, blocks), os.O_EXCL):
                print("synced", name, 1, blocks, file=log, flush=True)
        elif kind == "rename":
            if put(path + ".tmp", body(name, 1, blocks), os.O_EXCL):
                os.rename(path + ".tmp", path)
                fd = os.open(folder, os.O_RDONLY); os.fsync(fd); os.close(fd)
                print("synced", name, 1, blocks, file=log, flush=True)
            else:
                os.rename(path + ".tmp", path)
        else:
            put(path, body(name, 1, blocks), os.O_EXCL)
            fd = os.open(path, os.O_RDONLY); os.fsync(fd); os.close(fd)
            print("begun", name, blocks, file=log, flush=True)
            if put(path, body(name, 2, blocks), 0):
                print("synced", name, 2, blocks, file=log, flush=True)
        n += 1
except OSError:
    pass
P
cat >"$WORK/judge.py" <<'P'
import os, sys
folder, log = sys.argv[1], sys.argv[2]
BLOCK = 16384
synced, begun = {}, set()
for line in open(log):
    words = line.split()
    if words[0] == "synced":
        synced[words[1]] = (int(words[2]), int(words[3]))
    else:
        begun.add(words[1])
def block(name, version, i):
    return (f"{name} {version} ".encode() + str(i).encode() + b" ").ljust(BLOCK, b"%")
for name, (version, blocks) in synced.items():
    data = open(f"{folder}/{name}", "rb").read()
    assert data == b"".join(block(name, version, i) for i in range(blocks)), f"{name}: fsynced bytes are lost"
whole = torn = 0
for name in os.listdir(folder):
    data = open(f"{folder}/{name}", "rb").read()
    plain = name.removesuffix(".tmp")
    if not plain[0].isdigit():
        continue
    for i in range(0, (len(data) + BLOCK - 1) // BLOCK):
        got = data[i * BLOCK:(i + 1) * BLOCK]
        if plain in begun:
            ok = got in (block(plain, 1, i), block(plain, 2, i))
        else:
            one = block(plain, 1, i)
            ok = got == one[:len(got)] or got == block(plain, 2, i)[:len(got)] or not any(got)
            torn += not any(got)
        assert ok, f"{name}: block {i} is garbage: {got[:60]!r}"
        whole += 1
print(f"{len(synced)} fsynced files whole, {whole} blocks judged, {torn} still zero")
P
RANDOM=$SEED
: >"$WORK/log"
for round in $(seq "$ROUNDS"); do
    mount_vault --epoch 1s
    pid=$(daemon_pid)
    mkdir -p "$MNT/r"
    sync "$MNT" # the kill may come before the writer has asked for anything
    python3 "$WORK/writer.py" "$MNT/r" "$WORK/log" "$((SEED + round))" 2>/dev/null &
    writer=$!
    python3 -c "import time; time.sleep($((RANDOM % 2500)) / 1000)"
    kill -9 "$pid"
    wait $writer || true
    umount -l "$MNT"
    mount_vault
    python3 "$WORK/judge.py" "$MNT/r" "$WORK/log"
    umount_vault
done
mount_vault
"$LETHEFS" sync "$MNT"
mkdir "$WORK/copy"
cp -a "$MNT/." "$WORK/copy/"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
same_trees "$WORK/copy" "$MNT"
umount_vault
