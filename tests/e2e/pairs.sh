# SPDX-License-Identifier: MIT
# A vault that keeps its own model pair out of the backend: a new device cannot read the photos, and says why; all else
# it can, and photos too once the exported pair is added. And the past can be mounted.
. "$(dirname "$0")/lib.sh"

SRC=$WORK/src
mkdir "$SRC"
"$BUILD/lethe-samples" "$SRC" "$SEED"
head -c 300000 /dev/urandom >"$SRC/random"
"$LETHEFS" train --photos "$SRC" --out "$WORK/own.pair" --steps 3 --threads 1 >/dev/null
# Tuning that gains nothing is refused, and leaves nothing behind; that of an unfinished training is not started over.
expect 2 "$LETHEFS" train --init "$WORK/own.pair" --photos "$SRC" --out "$WORK/tuned.pair" --steps 1 --threads 1
grep -q 'is not better' "$WORK/err" || fail "the refusal does not say why: $(cat "$WORK/err")"
[ ! -e "$WORK/tuned.pair" ] && [ ! -e "$WORK/tuned.pair.part" ] || fail "a refused pair was left"
echo "what a training left" >"$WORK/tuned.pair.part"
expect 2 "$LETHEFS" train --photos "$SRC" --out "$WORK/tuned.pair" --steps 1
expect 1 "$LETHEFS" train --photos "$SRC" --out "$WORK/tuned.pair" --resume
make_vault --pairs device --model "$WORK/own.pair"
mount_vault
cp "$SRC"/* "$MNT/"
"$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT" | grep -q 'model export' || fail "status does not warn that the pairs are here alone"
umount_vault
pair=$("$LETHEFS" model list "$VAULT" --passfile "$PASS" --json |
    python3 -c 'import json,sys; print([p["id"] for p in json.load(sys.stdin)["pairs"] if p["current"]][0])')
"$LETHEFS" model export "$VAULT" "$pair" "$WORK/exported" --passfile "$PASS"
cmp "$WORK/exported" "$WORK/own.pair"

export XDG_STATE_HOME=$WORK/new-state XDG_CACHE_HOME=$WORK/new-cache
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" 2>"$WORK/err"
grep -q 'model add' "$WORK/err" || fail "recover does not say that the pair is missing"
expect 4 "$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
mount_vault 2>/dev/null
cmp "$MNT/random" "$SRC/random"
if cat "$MNT/landscape-1.png" >"$WORK/bytes" 2>/dev/null || [ -s "$WORK/bytes" ]; then
    fail "a photo was read without its pair"
fi
cp "$SRC/landscape-1.jpg" "$MNT/written-without.jpg"
"$LETHEFS" sync "$MNT"
umount_vault
"$LETHEFS" model add "$VAULT" "$WORK/exported" --passfile "$PASS" >/dev/null 2>&1
rm -rf "$XDG_CACHE_HOME"
mount_vault
cmp "$MNT/written-without.jpg" "$SRC/landscape-1.jpg"
rm "$MNT/written-without.jpg"
diff -r "$SRC" "$MNT"
"$LETHEFS" sync "$MNT"
next_second() { # --at counts in seconds
    local now
    now=$(date +%s)
    while [ "$(date +%s)" = "$now" ]; do sleep 0.1; done
}
next_second
moment=$(date +%Y-%m-%dT%H:%M:%S)
next_second
rm "$MNT"/*
"$LETHEFS" sync "$MNT"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
mount_vault --at "$moment"
diff -r "$SRC" "$MNT"
! touch "$MNT/new" 2>/dev/null || fail "the past can be changed"
umount_vault
