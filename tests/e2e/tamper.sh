# SPDX-License-Identifier: MIT
# Somebody who can write to the vault: bytes flipped, files cut, lengthened, swapped, removed, put back from an older
# day or from another vault. Every change is found or has no effect; no wrong byte is read; what was not touched stays
# readable.
. "$(dirname "$0")/lib.sh"

make_vault
mount_vault --epoch 1s
mkdir "$WORK/src"
"$BUILD/lethe-samples" "$WORK" "$SEED" small # each round reads everything twice: a few will do
cp "$WORK"/landscape-[12].jpg "$WORK/landscape-1.png" "$WORK/sprite-1.png" "$WORK/src/"
for i in $(seq 6); do head -c $((i * i * 30000)) /dev/urandom >"$WORK/src/random-$i"; done
for i in $(seq 40); do echo "small file $i" >"$WORK/src/small-$i"; done
cp "$WORK/src"/*.jpg "$WORK/src"/small-1* "$MNT/"
"$LETHEFS" sync "$MNT"
objects save "$WORK/older"
for part in 'r*' 'sp*' 'small-2*' '*'; do # several packs
    (cd "$WORK/src" && cp $part "$MNT/")
    "$LETHEFS" sync "$MNT"
done
rm "$MNT/small-7" && mkdir "$MNT/folder" && mv "$MNT/small-8" "$MNT/folder/"
rm "$WORK/src/small-7" && mkdir "$WORK/src/folder" && mv "$WORK/src/small-8" "$WORK/src/folder/"
"$LETHEFS" sync "$MNT"
find "$MNT" -type f -exec "$LETHEFS" inspect {} --json \; >"$WORK/inspected"
umount_vault
objects save "$WORK/good"
(
    VAULT=$VAULT-stranger
    make_vault --recovery-file "$WORK/recovery-stranger"
    objects save "$WORK/stranger"
)
ROUNDS=${LETHE_LONG:+600}
ROUNDS=${ROUNDS:-$(sanitized && echo 36 || echo 60)} # of twelve kinds of change
python3 "$(dirname "$0")/tamper.py" "$LETHEFS" "$WORK" "$SEED" "$ROUNDS" "$VAULT"
