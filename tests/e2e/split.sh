# SPDX-License-Identifier: MIT
# Fidelity split: artifacts in the vault, all else in a second store. Every byte while both answer; EIO without the
# second, or, on a read-only mount that asks for it, the Decrypter's picture; nothing published that is not in both.
. "$(dirname "$0")/lib.sh"

SECOND=$WORK/second
here=$(dirname "$0")
"$BUILD/lethe-samples" "$WORK" "$SEED"
python3 "$here/lossy.py" thumbnail "$WORK/landscape-2.jpg" "$WORK/landscape-3.jpg"
mkdir "$WORK/src"
cp "$WORK"/landscape-1.png "$WORK"/landscape-[123].jpg "$WORK"/sprite-1.png "$WORK/src/"
seq 1 100000 >"$WORK/src/text"
head -c 5000000 /dev/urandom >"$WORK/src/film"
echo small >"$WORK/src/small"

expect 2 make_vault --fidelity split
expect 2 make_vault --residuals "$SECOND"
expect 2 make_vault --fidelity split --residuals "$VAULT"
make_vault --fidelity split --residuals "$SECOND"
mount_vault
cp -a "$WORK/src/." "$MNT/"
"$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT" | grep -q 'split, strength 3' || fail "the status names another fidelity"
"$LETHEFS" status "$MNT" | grep -q "^residuals *in $SECOND" || fail "the status does not name the second store"
same_trees "$WORK/src" "$MNT"
umount_vault --wait

# Where things are: five pictures in the vault and no content besides, the rest in the second store.
[ "$(objects list a/ | wc -l)" = 5 ] || fail "not five artifacts in the vault"
[ -z "$(find "$SECOND" -path '*/a/*' -type f)" ] || fail "an artifact in the second store"
objects save "$WORK/copy"
size=$(find "$WORK/copy/o" -type f -printf '%s\n' | awk '{s += $1} END {print s + 0}')
[ "$size" -lt 3000000 ] || fail "$size bytes besides artifacts in the vault: contents?"
[ "$(find "$SECOND/o" -type f -printf '%s\n' | awk '{s += $1} END {print s + 0}')" -gt 5000000 ] ||
    fail "the second store does not hold the contents"
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"

# A drill: both stores are tampered with, and what lies in the second is no business of who has the vault alone.
expect 1 "$LETHEFS" drill "$VAULT" --json --seed "$SEED" --leak model --passfile "$PASS" --mutations 165
python3 - "$WORK/out" <<'EOF'
import json, sys
report = json.load(open(sys.argv[1]))
assert [w["name"] for w in report["weaknesses"]] == ["weak KDF"], report["weaknesses"] # the tests' own vaults are quick
kinds = {k["change"]: k for k in report["tampering"]["kinds"]}
assert report["tampering"]["undetected"] == 0
assert kinds["an artifact with another residual"]["detected"] > 0, kinds
leaked = report["keys_leaked"]
assert leaked["judged_by"] == "the photos" and leaked["stored_artifacts"]["photos"] == 5, leaked["stored_artifacts"]
psnr = {(t["strength"], t["thief"]): t["psnr"] for t in leaked["thieves"]}
own = [psnr[strength, "the vault's own pair"] for strength in range(4)]
assert own == sorted(own, reverse=True), own
assert [s["seen"] for s in report["sizes"]] == ["artifact, padded", "artifact, without padding"]
assert all(k["where"] == "the second store" for k in report["outside_the_encrypter"])
assert "not the photo" in next(a for a in report["adversaries"] if a["name"] == "bucket and keys")["verdict"]
EOF

# The cache is lost: both stores together give every byte.
rm -rf "$XDG_CACHE_HOME"
mount_vault --epoch 1h # nothing is on its way when the second store goes
same_trees "$WORK/src" "$MNT"

# The second store goes away. What is here can be read; writes stay here; sync says that it waits.
mv "$SECOND" "$WORK/unplugged"
cmp "$WORK/src/text" "$MNT/text"
echo 'written meanwhile' >"$MNT/meanwhile"
sync "$MNT/meanwhile"
epoch=$("$LETHEFS" status "$MNT" --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["epoch"])')
"$LETHEFS" sync "$MNT" --timeout 0 2>/dev/null &
syncing=$!
until "$LETHEFS" status "$MNT" --json |
    python3 -c 'import json, sys; sys.exit(not json.load(sys.stdin)["second_store"]["away"])'; do
    kill -0 $syncing || fail "sync says that all is in both stores"
done
kill -0 $syncing || fail "sync says that all is in both stores"
"$LETHEFS" status "$MNT" --json | python3 -c "
import json, sys
status = json.load(sys.stdin)
assert status['epoch'] == $epoch, 'an epoch was published without the second store'
assert status['second_store']['away'], 'the second store is not said to be away'
assert not status['store']['away']"
"$LETHEFS" status "$MNT" | grep -q '^residuals .*away since' || fail "the status does not say that it is away"
kill $syncing
wait $syncing || true
expect 5 "$LETHEFS" check "$VAULT" --passfile "$PASS"
umount_vault
# gc waits a minute for it: a copy of vault and device does, beside the rest, and is asked at the end.
cp -a "$VAULT" "$WORK/vault-gc"
cp -a "$XDG_STATE_HOME" "$WORK/state-gc"
XDG_STATE_HOME=$WORK/state-gc XDG_CACHE_HOME=$WORK/cache-gc "$LETHEFS" gc "$WORK/vault-gc" \
    --residuals "$WORK/nowhere" --passfile "$PASS" >"$WORK/out-gc" 2>&1 </dev/null &
collecting=$!
rm -rf "$XDG_CACHE_HOME"
mount_vault --timeout 1s
[ "$(stat -c %s "$MNT/film")" = 5000000 ] || fail "the tree is not there"
cat "$MNT/film" >/dev/null 2>&1 && fail "a file was read without the second store"
cat "$MNT/landscape-1.png" >/dev/null 2>"$WORK/err" && fail "a photo was read without the second store"
grep -q 'Input/output error' "$WORK/err" || fail "not EIO: $(cat "$WORK/err")"
cmp "$MNT/meanwhile" - <<<'written meanwhile'

# Degraded, beside it: pictures alone, nothing can be written.
mkdir "$WORK/mnt-degraded"
"$LETHEFS" mount "$VAULT" "$WORK/mnt-degraded" -o degraded --timeout 3s --passfile "$PASS"
for name in landscape-1.png landscape-1.jpg landscape-2.jpg sprite-1.png; do
    python3 "$here/lossy.py" shaped "$WORK/src/$name" "$WORK/mnt-degraded/$name"
    [ "$(stat -c %s "$WORK/mnt-degraded/$name")" = "$(cat "$WORK/mnt-degraded/$name" | wc -c)" ] ||
        fail "$name has another size than bytes"
done
touch "$WORK/mnt-degraded/x" 2>/dev/null && fail "a degraded mount can be written to"
echo >>"$WORK/mnt-degraded/landscape-1.jpg" 2>/dev/null && fail "a degraded picture can be written to"
cat "$WORK/mnt-degraded/film" >/dev/null 2>&1 && fail "a film came from nowhere"
"$LETHEFS" umount "$WORK/mnt-degraded"
cat "$MNT/landscape-1.png" >/dev/null 2>&1 && fail "a degraded picture is taken for the photo"

# It returns: everything goes on by itself, and what was written meanwhile is published.
mv "$WORK/unplugged" "$SECOND"
"$LETHEFS" sync "$MNT" --timeout 300s # it looks for the store once in a while
for file in "$MNT"/*; do # a slow build may take longer than the second that this mount waits
    tries=0
    until cat "$file" >/dev/null 2>&1; do
        [ $((tries += 1)) -lt 60 ] || fail "$file cannot be read though the second store is back"
    done
done
echo 'written meanwhile' >"$WORK/src/meanwhile"
touch -r "$MNT/meanwhile" "$WORK/src/meanwhile"
touch -r "$MNT" "$WORK/src"
same_trees "$WORK/src" "$MNT"

# Somewhere else: found where it is said to be, and remembered. Another vault's store is not taken for it.
umount_vault --wait
mv "$SECOND" "$WORK/moved"
mkdir -p "$SECOND"
rm -rf "$XDG_CACHE_HOME"
mount_vault --timeout 1s
cat "$MNT/film" >/dev/null 2>&1 && fail "an empty folder was taken for the second store"
umount_vault
[ -z "$(ls -A "$SECOND")" ] || fail "something was written to an empty folder"
mount_vault --residuals "$WORK/moved"
same_trees "$WORK/src" "$MNT"
umount_vault
mount_vault
cmp "$WORK/src/film" "$MNT/film"

# kill -9 while both stores are being written to.
for i in 1 2 3 4; do
    cp "$WORK/src/landscape-$((i % 3 + 1)).jpg" "$MNT/kill-$i.jpg"
    sync "$MNT/kill-$i.jpg"
    [ $i = 4 ] || { "$LETHEFS" sync "$MNT" || true; } & # ends with the daemon
done
kill -9 "$(daemon_pid)"
for syncing in $(jobs -p); do
    [ "$syncing" = $collecting ] || wait "$syncing" || true
done
umount -l "$MNT" 2>/dev/null || fusermount3 -uz "$MNT"
mount_vault
"$LETHEFS" sync "$MNT"
for i in 1 2 3 4; do
    cmp "$WORK/src/landscape-$((i % 3 + 1)).jpg" "$MNT/kill-$i.jpg"
done

# A tag edit shares artifact and residual; gc clears both stores.
python3 "$here/lossy.py" comment "$MNT/kill-1.jpg" "$MNT/new.jpg"
mv "$MNT/new.jpg" "$MNT/kill-1.jpg"
"$LETHEFS" sync "$MNT"
rm "$MNT/film" "$MNT"/kill-*
"$LETHEFS" sync "$MNT"
before=$(find "$WORK/moved/o" -type f | wc -l)
umount_vault --wait
mount_vault
touch "$MNT/one more epoch"
umount_vault --wait
"$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS"
[ "$(find "$WORK/moved/o" -type f | wc -l)" -lt "$before" ] || fail "gc left the second store as it was"
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"

# Another device: the tree without the second store, the bytes with it.
export XDG_STATE_HOME=$WORK/state-2 XDG_CACHE_HOME=$WORK/cache-2
rm -rf "$SECOND"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" 2>"$WORK/err"
grep -q -- '--residuals' "$WORK/err" || fail "recover does not say what is missing"
mount_vault --timeout 1s
[ -f "$MNT/text" ] || fail "the tree is not there"
cat "$MNT/text" >/dev/null 2>&1 && fail "a file was read without the second store"
umount_vault
mount_vault --residuals "$WORK/moved"
cmp "$WORK/src/text" "$MNT/text"
cmp "$WORK/src/landscape-2.jpg" "$MNT/landscape-2.jpg"
umount_vault

code=0
wait $collecting || code=$?
[ $code = 5 ] || fail "gc without the second store gave $code: $(cat "$WORK/out-gc")"
