# SPDX-License-Identifier: MIT
# Three times the cache's size goes through the mount, and the device never holds more than the limit.
. "$(dirname "$0")/lib.sh"

LIMIT_MIB=64
make_vault
mount_vault --cache-size ${LIMIT_MIB}M

[ "$(df --output=size -B1M "$MNT" | tail -1)" -eq $LIMIT_MIB ] || fail "df shows another size than the cache's limit"
held() { # du fails where a file goes while it looks
    { du -sB1 "$XDG_STATE_HOME" "$XDG_CACHE_HOME" 2>/dev/null || true; } | awk '{sum += $1} END {print sum}'
}

SRC=$WORK/src
mkdir "$SRC"
python3 - "$SRC" "$SEED" $((3 * LIMIT_MIB)) <<'P'
import os, random, sys
folder, seed, total = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) << 20
rng = random.Random(seed)
n = 0
while total > 0:
    size = min(total, rng.choice([3000, 70000, 900000, 5000000, 17000000]))
    with open(f"{folder}/file-{n:04}", "wb") as f:
        f.write(rng.randbytes(size))
    total -= size
    n += 1
P
PEAK=0
cp -a "$SRC/." "$MNT/" &
COPY=$!
while kill -0 $COPY 2>/dev/null; do
    now=$(held)
    [ "$now" -le "$PEAK" ] || PEAK=$now
    [ "$now" -le $((LIMIT_MIB << 20)) ] || fail "the device holds $now bytes, more than the limit"
    read -rt 0.1 <> <(:) || true
done
wait $COPY
"$LETHEFS" sync "$MNT"
echo "peak $PEAK of $((LIMIT_MIB << 20)) bytes"
same_trees "$SRC" "$MNT"
[ "$(held)" -le $((LIMIT_MIB << 20)) ] || fail "reading back went over the limit"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
