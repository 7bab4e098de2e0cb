# SPDX-License-Identifier: MIT
# Fidelity lossy: at sealing a picture becomes the Decrypter's, in its own format, size and metadata; once, for every
# program and device the same bytes; copies and edits of it lose nothing more; what is no picture stays exact.
. "$(dirname "$0")/lib.sh"

"$BUILD/lethe-samples" "$WORK" "$SEED"
make_vault --fidelity lossy
"$LETHEFS" status "$VAULT" --passfile "$PASS" | grep -q 'lossy, strength 0' || fail "the status names another fidelity"
mount_vault
names=(landscape-1.png landscape-1.jpg landscape-2.jpg landscape-3.jpg sprite-1.png)
python3 "$(dirname "$0")/lossy.py" thumbnail "$WORK/landscape-2.jpg" "$WORK/landscape-3.jpg"
for name in "${names[@]}"; do
    cp "$WORK/$name" "$MNT/$name"
    touch -d '2001-02-03 04:05:06.789 UTC' "$MNT/$name"
done
seq 1 100000 >"$MNT/text"
head -c 3000000 /dev/urandom >"$WORK/film"
{ printf '\xff\xd8\xff'; cat "$WORK/film"; } >"$MNT/broken.jpg"
cat "$MNT"/* >/dev/null # the kernel caches the originals
"$LETHEFS" sync "$MNT"

sums() { (cd "$1" && sha256sum -- * | sort -k 2); }
for name in "${names[@]}"; do
    cmp -s "$WORK/$name" "$MNT/$name" && fail "$name is still what it was"
    [ "$(stat -c %Y "$MNT/$name")" = "$(date -d '2001-02-03 04:05:06 UTC' +%s)" ] || fail "$name has another mtime"
    [ "$(stat -c %s "$MNT/$name")" = "$(cat "$MNT/$name" | wc -c)" ] || fail "$name has another size than bytes"
    [ "$(getfattr --absolute-names --only-values -n user.lethefs.kind "$MNT/$name")" = artifact ] || fail "$name is no artifact"
    python3 "$(dirname "$0")/lossy.py" alike "$WORK/$name" "$MNT/$name"
done
seq 1 100000 | cmp - "$MNT/text"
tail -c +4 "$MNT/broken.jpg" | cmp - "$WORK/film"
if command -v exiv2 >/dev/null; then
    exiv2 -pt "$WORK/landscape-1.jpg" >"$WORK/tags"
    exiv2 -pt "$MNT/landscape-1.jpg" | diff "$WORK/tags" - || fail "tags were lost"
fi
"$LETHEFS" status "$MNT" | grep -i 'exact\|artifact' || true
"$LETHEFS" inspect "$MNT/landscape-1.png" | grep -q 'the rest is gone' || fail "inspect promises a residual"
sums "$MNT" >"$WORK/sums"

# Nothing changes again: another mount, no cache, another device.
umount_vault --wait

# A drill: thieves are judged by the originals, where they are at hand, and else by what is left of them.
drill() {
    expect 1 "$LETHEFS" drill "$VAULT" --json --seed "$SEED" --leak model --passfile "$PASS" --mutations 55 "$@"
    python3 - "$WORK/out" "$#" <<'EOF'
import json, sys
report, originals = json.load(open(sys.argv[1])), sys.argv[2] != "0"
assert [w["name"] for w in report["weaknesses"]] == ["weak KDF"], report["weaknesses"] # the tests' own vaults are quick
leaked = report["keys_leaked"]
stored = leaked["stored_artifacts"]
assert stored["photos"] == 5 and 25 < stored["psnr"]["value"] < 60, stored
assert leaked["judged_by"] == ("the originals" if originals else "the lossy pictures"), leaked["judged_by"]
assert {t["strength"] for t in leaked["thieves"]} == (set(range(4)) if originals else {0})
own = next(t for t in leaked["thieves"] if t["thief"] == "the vault's own pair" and t["strength"] == 0)
if originals: # another draw, as far from the original as from what the device restores, give or take
    assert 25 < own["psnr"] < 60 and 25 < own["psnr_to_lossy"] < 60, own
else: # the artifact of the vault itself: what is restored, but for rounding and the rim of what was looked at
    assert own["psnr"] > 40 and "psnr_to_lossy" not in own, own
outside = {k["kind"]: k["files"] for k in report["outside_the_encrypter"]}
assert outside["JPEG"] == 1 and outside["other files"] == 1, outside # broken.jpg, text
EOF
}
drill
drill --originals "$WORK"

rm -rf "$XDG_CACHE_HOME"
mount_vault
sums "$MNT" | diff "$WORK/sums" - || fail "other bytes from the vault"

# Copies and edits start from these bytes, and lose nothing more.
cp --reflink=never "$MNT/landscape-2.jpg" "$MNT/copy.jpg"
cp "$MNT/landscape-1.png" "$MNT/copy.png"
python3 "$(dirname "$0")/lossy.py" comment "$MNT/landscape-2.jpg" "$MNT/commented.jpg"
"$LETHEFS" sync "$MNT"
cmp "$MNT/landscape-2.jpg" "$MNT/copy.jpg" || fail "a copy was lossy twice"
cmp "$MNT/landscape-1.png" "$MNT/copy.png" || fail "a copy was lossy twice"
python3 "$(dirname "$0")/lossy.py" same "$MNT/landscape-2.jpg" "$MNT/commented.jpg"
grep -q 'a remark' "$MNT/commented.jpg" || fail "the edit was lost"

# Whoever writes is not disturbed, even when somebody else wants all of it in the vault.
python3 "$(dirname "$0")/lossy.py" held "$WORK/landscape-3.jpg" "$MNT/held.jpg" "$LETHEFS" "$MNT"
"$LETHEFS" sync "$MNT"
python3 "$(dirname "$0")/lossy.py" alike "$WORK/landscape-3.jpg" "$MNT/held.jpg"
cmp -s "$WORK/landscape-3.jpg" "$MNT/held.jpg" && fail "a picture that was held open stayed exact"

# Nothing of an original is in the vault; kill -9 in the midst of it leaves every file either way.
for i in 1 2 3; do
    cp "$WORK/landscape-2.jpg" "$MNT/kill-$i.jpg"
    sync "$MNT/kill-$i.jpg"
done
kill -9 "$(daemon_pid)"
umount -l "$MNT" 2>/dev/null || fusermount3 -uz "$MNT"
mount_vault
"$LETHEFS" sync "$MNT"
for i in 1 2 3; do
    python3 "$(dirname "$0")/lossy.py" alike "$WORK/landscape-2.jpg" "$MNT/kill-$i.jpg"
    cmp -s "$WORK/landscape-2.jpg" "$MNT/kill-$i.jpg" && fail "a picture stayed exact"
done
"$LETHEFS" sync "$MNT"
sums "$MNT" >"$WORK/sums"
umount_vault --wait
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"

export XDG_STATE_HOME=$WORK/state-2 XDG_CACHE_HOME=$WORK/cache-2
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
sums "$MNT" | diff "$WORK/sums" - || fail "other bytes on another device"
for name in "$MNT"/*; do
    [ "$(stat -c %s "$name")" = "$(cat "$name" | wc -c)" ] || fail "$name has another size than bytes"
done
echo more >>"$MNT/text"
umount_vault --wait
"$LETHEFS" check "$VAULT" --passfile "$PASS"
