# SPDX-License-Identifier: MIT
# What goes wrong outside gives one clear line and the right exit code; only what is damaged fails; nothing is lost.
. "$(dirname "$0")/lib.sh"

expect 2 "$LETHEFS"
expect 2 "$LETHEFS" nonsense
expect 2 "$LETHEFS" mount
expect 2 "$LETHEFS" init "$VAULT" --strength 9 --passfile "$PASS" --recovery-file "$WORK/r"
expect 2 "$LETHEFS" init "$VAULT" --passfile "$PASS" # the phrase has nowhere to go
expect 5 "$LETHEFS" mount "$WORK/no-such-vault" "$MNT" --passfile "$PASS"
[ -z "$(objects list)" ] || fail "a refused init left something"
expect 1 "$LETHEFS" init "$WORK/new/vault" --passfile "$PASS" --recovery-file "$WORK/absent/r" --state-dir "$WORK/new/state"
[ ! -e "$WORK/new" ] || fail "an init that failed left folders: $(find "$WORK/new")"
expect 2 "$LETHEFS" gc "$VAULT" --passfile "$PASS" --timeout soon
make_vault
expect 1 "$LETHEFS" init "$VAULT" --passfile "$PASS" --recovery-file "$WORK/r2"
expect 1 "$LETHEFS" mount "$VAULT" "$WORK/no-folder" --passfile "$PASS"
expect 1 "$LETHEFS" umount "$MNT"

# keys
echo wrong >"$WORK/wrong"
expect 3 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$WORK/wrong"
expect 2 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$WORK/absent"
mv "$XDG_STATE_HOME" "$WORK/state-away"
expect 3 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
grep -q recover "$WORK/err" || fail "no remedy is named"
printf 'AAAA-BBBB\n' >"$WORK/typo"
expect 3 "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/typo" --passfile "$PASS"
rm -rf "$XDG_STATE_HOME"
mv "$WORK/state-away" "$XDG_STATE_HOME"

# a mount whose process is killed while it starts says so
code=0
while [ $code = 0 ]; do
    "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS" 2>"$WORK/err" &
    starting=$!
    child=
    while [ -z "$child" ] && kill -0 $starting 2>/dev/null; do
        child=$(cat "/proc/$starting/task/$starting/children" 2>/dev/null) || true
    done
    [ -z "$child" ] || kill -9 $child 2>/dev/null || true
    wait $starting || code=$?
    umount -l "$MNT" 2>/dev/null || true # it may have been quicker
done
[ $code = 1 ] && grep -q 'signal 9' "$WORK/err" || fail "a killed start exits $code: $(cat "$WORK/err")"

# a second mount of the same state
mount_vault
mkdir "$WORK/mnt2"
expect 6 "$LETHEFS" mount "$VAULT" "$WORK/mnt2" --passfile "$PASS"
mkdir "$MNT/many"
for i in $(seq 1 6); do head -c 700000 /dev/urandom >"$MNT/many/$i"; done
"$BUILD/lethe-samples" "$MNT/many" 3 small
cp -a "$MNT/many" "$WORK/reference"
"$LETHEFS" sync "$MNT"

object_of() {
    "$LETHEFS" inspect "$1" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["objects"][0]["object"])'
}
A=$(object_of "$MNT/many/1") B=$(object_of "$MNT/many/2") C=$(object_of "$MNT/many/3") D=$(object_of "$MNT/many/4")
P=$(object_of "$MNT/many/landscape-1.png")
umount_vault
rm -rf "$XDG_CACHE_HOME"

# a flipped, a truncated, a swapped, a missing object, a forged artifact
objects save "$WORK/vault-good"
objects flip "$A" 5000
objects cut "$B"
objects swap "$C" "$D"
objects flip "$P" 300
mount_vault --epoch 1h # reading sets times: no epoch of theirs may be newer than the copy
for broken in 1 2 3 4 landscape-1.png; do
    if cat "$MNT/many/$broken" >"$WORK/bytes" 2>"$WORK/err"; then fail "$broken was read from a damaged object"; fi
    grep -q "Input/output error" "$WORK/err" || fail "$broken: $(cat "$WORK/err")"
    [ ! -s "$WORK/bytes" ] || fail "bytes of a damaged object were released"
done
for fine in 5 6 landscape-2.png landscape-3.jpg sprite-1.png; do
    cmp "$MNT/many/$fine" "$WORK/reference/$fine"
done
umount_vault
expect 4 "$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
objects remove "$A"
expect 4 "$LETHEFS" check "$VAULT" --passfile "$PASS"
objects restore "$WORK/vault-good"
mount_vault
diff -r "$MNT/many" "$WORK/reference"

# an older vault than this device has seen, vault.json and head tampered with
echo more >"$MNT/more"
"$LETHEFS" sync "$MNT"
umount_vault
objects save "$WORK/vault-new"
objects restore "$WORK/vault-good"
expect 4 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
grep -q "rolled back" "$WORK/err" || fail "a rollback is not called one: $(cat "$WORK/err")"
objects restore "$WORK/vault-new"
for at in 40 60 100; do
    objects flip head $at
    expect 4 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
    objects restore "$WORK/vault-new"
done
objects remove $(objects list head)
expect 4 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
objects restore "$WORK/vault-new"

# a head moved by another device: refused, said, nothing lost
XDG_STATE_HOME=$WORK/other-state XDG_CACHE_HOME=$WORK/other-cache "$LETHEFS" recover "$VAULT" \
    --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault --epoch 1h # what is written here comes second
echo "written here" >"$MNT/here"
XDG_STATE_HOME=$WORK/other-state XDG_CACHE_HOME=$WORK/other-cache MNT=$WORK/mnt2 mount_vault
echo "written there" >"$WORK/mnt2/there"
"$LETHEFS" sync "$WORK/mnt2"
"$LETHEFS" umount "$WORK/mnt2"
expect 6 "$LETHEFS" sync "$MNT"
[ "$(cat "$MNT/here")" = "written here" ] || fail "a file was lost"
umount_vault
expect 6 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
[ "$(cat "$MNT/there")" = "written there" ] || fail "the other device's file is missing"

# a full disk under the vault: writes go on, sync says why, room made later is used
if [ "$(id -u)" = 0 ] && mkdir "$WORK/small" && mount -t tmpfs -o size=3m none "$WORK/small"; then
    umount_vault
    rm -rf "$WORK/small.vault"
    VAULT=$WORK/small/vault
    rm -f "$WORK/recovery"
    make_vault
    mount_vault
    head -c 6000000 /dev/urandom >"$MNT/too-much"
    cp "$MNT/too-much" "$WORK/too-much"
    expect 1 timeout 60 "$LETHEFS" sync "$MNT"
    cmp "$MNT/too-much" "$WORK/too-much"
    mount -o remount,size=64m "$WORK/small"
    "$LETHEFS" sync "$MNT"
    umount_vault
    rm -rf "$XDG_CACHE_HOME"
    mount_vault
    cmp "$MNT/too-much" "$WORK/too-much"
    umount_vault
    umount "$WORK/small"
fi
