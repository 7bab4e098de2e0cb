# SPDX-License-Identifier: MIT
# The vault loses parts of its journal, which a device that knows the tree makes up for: by itself at the next mount, with
# check --repair, with gc. Until then check tells each fault once, as JSON too. A vault that was rolled back is told.
. "$(dirname "$0")/lib.sh"

json() { # FILE KEY...: a value of a JSON file, as Python writes it
    python3 -c 'import json,sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]: value = value[key]
print(value)' "$@"
}

segment() { # EPOCH: its key, if it is there
    objects list "j/$(printf %016x "$1")-"
}

# whole WHAT: a new device sees all of it, and check and gc have nothing to say
whole() {
    rm -rf "$WORK/other"
    XDG_STATE_HOME=$WORK/other "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" \
        >"$WORK/out" || fail "$1: a new device cannot read the vault"
    mkdir -p "$WORK/mnt2"
    XDG_STATE_HOME=$WORK/other XDG_CACHE_HOME=$WORK/other-cache MNT=$WORK/mnt2 mount_vault -o ro
    same_trees "$WORK/tree" "$WORK/mnt2"
    "$LETHEFS" umount "$WORK/mnt2"
    "$LETHEFS" check "$VAULT" --deep --passfile "$PASS" >"$WORK/out" || fail "$1: $(cat "$WORK/out")"
}

# faulty COUNT WHAT: check finds that many faults, as lines and as JSON
faulty() {
    local code=0
    expect 4 "$LETHEFS" check "$VAULT" --passfile "$PASS"
    cp "$WORK/out" "$WORK/lines"
    [ "$(grep -c "^fault: " "$WORK/out")" = "$1" ] || fail "$2: $(cat "$WORK/out")"
    code=0
    "$LETHEFS" check "$VAULT" --passfile "$PASS" --json >"$WORK/out" || code=$?
    [ $code = 4 ] || fail "$2: check --json gives $code"
    [ "$(json "$WORK/out" ok)" = False ] || fail "$2: $(cat "$WORK/out")"
    [ "$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["faults"]))' "$WORK/out")" = "$1" ] ||
        fail "$2: $(cat "$WORK/out")"
}

mkdir "$WORK/tree"
make_vault
mount_vault --epoch 1h
for i in 1 2 3; do
    echo $i >"$WORK/tree/$i"
    cp -a "$WORK/tree/." "$MNT"
    "$LETHEFS" sync "$MNT"
done
umount_vault

# a mount notices by itself
objects flip "$(segment 2)" middle
faulty 1 "a damaged segment"
grep -q "repair" "$WORK/lines" || fail "no remedy is named: $(cat "$WORK/lines")"
mount_vault --epoch 1h
echo 4 >"$WORK/tree/4"
cp -a "$WORK/tree/." "$MNT"
"$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT" --json >"$WORK/status"
[ "$(json "$WORK/status" journal_damaged)" = False ] || fail "the journal is not mended"
[ "$(json "$WORK/status" journal_mended)" = 4 ] || fail "no epoch mended the journal"
[ -n "$(segment 2)" ] || fail "the damaged segment was removed"
umount_vault --wait
whole "mended by a mount"
"$LETHEFS" gc "$VAULT" --passfile "$PASS" >"$WORK/out"
grep -q "nothing is collected" "$WORK/out" || fail "gc does not tell of the damage: $(cat "$WORK/out")"
[ -n "$(segment 3)" ] || fail "gc removed a segment that leads to the damage"
"$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS" >"$WORK/out"
[ -z "$(segment 2)" ] || fail "gc --keep 0s left the damaged segment"
whole "collected"

# check --repair, and with nothing changed: the snapshot's root and the head's segment are gone
objects remove "$(segment 4)"
faulty 1 "a missing segment"
"$LETHEFS" check "$VAULT" --repair --passfile "$PASS" >"$WORK/out"
grep -q "written anew" "$WORK/out" || fail "check does not tell of the repair: $(cat "$WORK/out")"
whole "mended by check"

# under a mount: gc and check --repair have it do that
mount_vault --epoch 1h
"$LETHEFS" sync "$MNT"
objects flip "$(segment 5)" middle
"$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS"
whole "mended by gc"
objects flip "$(segment 6)" middle
"$LETHEFS" check "$VAULT" --repair --json --passfile "$PASS" >"$WORK/out"
[ "$(json "$WORK/out" journal_mended)" = True ] || fail "check does not tell of the repair: $(cat "$WORK/out")"
whole "mended by check under a mount"
umount_vault

# every object of the journal: each is one fault, and is mended
"$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS"
mount_vault --epoch 1h
"$LETHEFS" sync "$MNT"
for key in $(objects list o/); do
    objects get "$key" "$WORK/kept"
    objects remove "$key"
    code=0
    "$LETHEFS" check "$VAULT" --passfile "$PASS" --json >"$WORK/out" 2>"$WORK/err" || code=$?
    [ $code = 4 ] || [ $code = 0 ] || fail "without $key check gives $code: $(cat "$WORK/err")"
    if [ $code = 4 ] && [ "$(json "$WORK/out" readable)" = False ]; then
        [ "$(python3 -c 'import json,sys; print(len(json.load(open(sys.argv[1]))["faults"]))' "$WORK/out")" = 1 ] ||
            fail "without $key: $(cat "$WORK/out")"
        umount_vault
        mount_vault --epoch 1h
        "$LETHEFS" sync "$MNT"
        whole "$key lost"
    fi
    [ -n "$(objects list "$key")" ] || objects put "$key" "$WORK/kept"
done

# what was rolled back is a fault, mounted or not; but a late write of its own to the device that the vault is bound to
objects get head "$WORK/older"
echo 5 >"$WORK/tree/5"
cp -a "$WORK/tree/." "$MNT"
"$LETHEFS" sync "$MNT"
objects get head "$WORK/head"
if [ -z "${TAKE_OVER:-}" ]; then
    objects put head "$WORK/older"
    faulty 1 "a vault that was rolled back under a mount"
    grep -q "rolled back" "$WORK/lines" || fail "$(cat "$WORK/lines")"
    umount_vault
    faulty 1 "a vault that was rolled back"
    grep -q "rolled back" "$WORK/lines" || fail "$(cat "$WORK/lines")"
    objects put head "$WORK/head"
    mount_vault --epoch 1h
fi
umount_vault
"$LETHEFS" check "$VAULT" --passfile "$PASS"
# and so is a damaged head
objects flip head middle
faulty 1 "a damaged head"
objects put head "$WORK/head"
