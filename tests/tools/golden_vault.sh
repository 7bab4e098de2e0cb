#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# golden_vault.sh BUILD FIDELITY: a small vault of some epochs under tests/golden/vault-FIDELITY, with what it takes to open
# it: vault (and second), passphrase, recovery, tree (what it holds) and stretched (what Argon2id makes of the passphrase).
# tests/refdec and tests/e2e/golden.sh read it.
set -euo pipefail

HERE=$(cd "$(dirname "$0")/.." && pwd)
LETHEFS=$1/lethefs
OUT=$HERE/golden/vault-$2
WORK=$(mktemp -d)
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
trap '"$LETHEFS" umount "$WORK/mnt" 2>/dev/null || true; rm -rf "$WORK"' EXIT
mkdir "$WORK/mnt"
rm -rf "$OUT"
mkdir -p "$OUT"
echo "golden words" >"$OUT/passphrase"
SECOND=()
[ "$2" != split ] || SECOND=(--residuals "$OUT/second")
"$LETHEFS" init "$OUT/vault" "${SECOND[@]}" --fidelity "$2" --kdf-mem 16 --model "$HERE/golden/golden.pair" \
    --passfile "$OUT/passphrase" --recovery-file "$OUT/recovery"
"$LETHEFS" mount "$OUT/vault" "$WORK/mnt" "${SECOND[@]}" --passfile "$OUT/passphrase" --epoch 1h
(
    cd "$WORK/mnt"
    mkdir folder
    cp "$HERE/golden/photos/rgb8.png" "$HERE/golden/photos/motion.jpg" folder/
    python3 -B "$HERE/refdec/draw_photos.py" --large folder/large.png folder/large.jpg
    seq 900 >text
    head -c 5000 /dev/urandom >noise
    printf small >small
    : >empty
    truncate -s 5000000 holes
    printf begin | dd of=holes conv=notrunc status=none
    printf middle | dd of=holes bs=1 seek=4500000 conv=notrunc status=none
    ln small folder/hard
    ln -s ../small folder/link
    setfattr -n user.word -v value small
    chmod 646 small # whoever runs the tests may read all, and write here
    chmod 777 folder
    printf gone >gone
)
"$LETHEFS" sync "$WORK/mnt"
# A megabyte of history makes a snapshot, of which nothing is left in it; then it goes.
for i in $(seq 24); do
    echo >"$WORK/mnt/x$i"
    setfattr -n user.x -v "0x$(head -c 50000 /dev/urandom | od -An -vtx1 | tr -d ' \n')" "$WORK/mnt/x$i"
    sync "$WORK/mnt/x$i"
done
rm "$WORK"/mnt/x*
"$LETHEFS" sync "$WORK/mnt"
touch "$WORK/mnt/small"
"$LETHEFS" sync "$WORK/mnt"
(
    cd "$WORK/mnt"
    rm gone
    mv text folder/"a longer name"
    printf changed >empty
)
"$LETHEFS" sync "$WORK/mnt"
(cd "$WORK/mnt" && python3 -B "$HERE/refdec/list_tree.py" .) >"$OUT/tree"
"$LETHEFS" umount "$WORK/mnt" --wait
find "$OUT" -type f -exec touch -d '2 days ago' {} + # what is young stays, named or not
"$LETHEFS" gc "$OUT/vault" "${SECOND[@]}" --keep 0d --passfile "$OUT/passphrase"
rm -f "$OUT"/stretched
rmdir "$OUT"/*/tmp # git keeps no empty folders
python3 -B "$HERE/refdec/check_vault.py" "$OUT"
cat "$OUT/tree"
du -sh "$OUT"
