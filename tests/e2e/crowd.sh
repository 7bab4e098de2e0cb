# SPDX-License-Identifier: MIT
# Several programs at once in one mount with a small cache, while status, sync, inspect and gc are asked for again and
# again. Each worker knows what its own files hold; all of them share a folder of names. What remains is vaulted.
. "$(dirname "$0")/lib.sh"

ROUNDS=${LETHE_LONG:+800}
ROUNDS=${ROUNDS:-120}
make_vault
mount_vault --epoch 1s --cache-size 64M
"$BUILD/lethe-samples" "$WORK" "$SEED" small
cat >"$WORK/worker.py" <<'P'
import os, random, shutil, sys
mount, number, seed, rounds, samples = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
rng = random.Random(seed)
own, shared = f"{mount}/{number}", f"{mount}/shared"
os.makedirs(own)
model = {}
def path(name):
    return f"{own}/{name}"
def write(name, data):
    with open(path(name), "wb") as f:
        f.write(data)
        if rng.random() < 0.2:
            f.flush()
            os.fsync(f.fileno())
    model[name] = data
def some():
    return rng.choice(sorted(model)) if model else None
for n in range(rounds):
    what, name = rng.randrange(9), some()
    if what < 2 or name is None:
        write(f"f{n}", rng.randbytes(rng.choice([0, 10, 5000, 70000, 900000])))
    elif what == 2: # a patch in place
        data = bytearray(model[name])
        at, patch = rng.randrange(len(data) + 1), rng.randbytes(3000)
        with open(path(name), "r+b") as f:
            f.seek(at)
            f.write(patch)
        data[at:at + 3000] = patch
        model[name] = bytes(data)
    elif what == 3:
        size = rng.randrange(100000)
        os.truncate(path(name), size)
        model[name] = model[name][:size].ljust(size, b"\0")
    elif what == 4:
        os.rename(path(name), path(f"r{n}"))
        model[f"r{n}"] = model.pop(name)
    elif what == 5:
        os.unlink(path(name))
        del model[name]
    elif what == 6: # an editor's save
        data = rng.randbytes(20000)
        write(name + ".tmp", data)
        os.replace(path(name + ".tmp"), path(name))
        model[name] = model.pop(name + ".tmp")
    elif what == 7:
        source = f"{samples}/" + rng.choice(["landscape-1.jpg", "sprite-1.png", "landscape-2.png"])
        shutil.copyfile(source, path(f"p{n}"))
        model[f"p{n}"] = open(source, "rb").read()
    else:
        assert open(path(name), "rb").read() == model[name], f"{name} differs while all are at work"
    try: # names that everybody fights for
        common = f"{shared}/{rng.randrange(5)}"
        choice = rng.randrange(4)
        if choice == 0:
            open(common, "ab").close()
        elif choice == 1:
            os.rename(common, f"{shared}/{rng.randrange(5)}")
        elif choice == 2:
            os.unlink(common)
        else:
            os.listdir(shared)
    except FileNotFoundError:
        pass
assert sorted(os.listdir(own)) == sorted(model), "names differ"
for name, data in model.items():
    assert open(path(name), "rb").read() == data, f"{name} differs"
P
mkdir "$MNT/shared"
workers=()
for n in 1 2 3 4; do
    python3 "$WORK/worker.py" "$MNT" $n $((SEED + n)) "$ROUNDS" "$WORK" &
    workers+=($!)
done
asked=0
while kill -0 "${workers[@]}" 2>/dev/null; do
    "$LETHEFS" status "$MNT" --json >/dev/null
    "$LETHEFS" inspect "$MNT/shared" >/dev/null 2>&1 || true
    { find "$MNT" -type f -name 'p*' -print -quit 2>/dev/null || true; } | while read -r photo; do
        "$LETHEFS" inspect "$photo" --json >/dev/null 2>&1 || true # it may be gone, before find has looked or after
    done
    [ $((asked % 3)) != 0 ] || "$LETHEFS" sync "$MNT"
    [ $((asked % 5)) != 0 ] || "$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS" >/dev/null
    asked=$((asked + 1))
done
for worker in "${workers[@]}"; do
    wait "$worker" || fail "a worker failed"
done
echo "asked $asked times meanwhile"
mkdir "$WORK/copy"
cp -a "$MNT/." "$WORK/copy/"
"$LETHEFS" sync "$MNT"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
rm -rf "$XDG_CACHE_HOME"
mount_vault
same_trees "$WORK/copy" "$MNT"
umount_vault
