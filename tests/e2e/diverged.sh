# SPDX-License-Identifier: MIT
# A device that was cut off with files that never reached the vault finds that another device has published meanwhile: it
# is refused to write, shows what it holds read-only, and does so after recover as well, from the state that was set aside.
. "$(dirname "$0")/lib.sh"

make_vault
mount_vault --epoch 1h
echo published >"$MNT/published"
"$LETHEFS" sync "$MNT"
head -c 200000 /dev/urandom >"$WORK/precious"
cp "$WORK/precious" "$MNT/precious"
sync "$MNT/precious"
pid=$(daemon_pid)
kill -9 "$pid"
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
umount -l "$MNT"

WORK2=$WORK/second
XDG_STATE_HOME=$WORK2 "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
XDG_STATE_HOME=$WORK2 XDG_CACHE_HOME=$WORK2-cache mount_vault
echo elsewhere >"$MNT/elsewhere"
umount_vault --wait

expect 6 "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
grep -q -- "-o ro" "$WORK/err" || fail "no remedy is named: $(cat "$WORK/err")"
mount_vault -o ro
cmp "$WORK/precious" "$MNT/precious"
[ "$(cat "$MNT/published")" = published ] || fail "a file that was published cannot be read"
[ ! -e "$MNT/elsewhere" ] || fail "the other device's file is in this device's state"
expect 1 touch "$MNT/new"
umount_vault

"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" >"$WORK/out"
aside=$(echo "$XDG_STATE_HOME"/lethefs/*.before-*)
grep -qF -- "-o ro --state-dir $aside" "$WORK/out" || fail "recover does not tell the way back: $(cat "$WORK/out")"
mount_vault
[ "$(cat "$MNT/elsewhere")" = elsewhere ] || fail "recover did not bring the other device's file"
[ ! -e "$MNT/precious" ] || fail "what was never published came from the vault"
mkdir "$WORK/mnt2"
expect 2 "$LETHEFS" mount "$VAULT" "$WORK/mnt2" --passfile "$PASS" --state-dir "$aside"
MNT=$WORK/mnt2 mount_vault -o ro --state-dir "$aside"
cmp "$WORK/precious" "$WORK/mnt2/precious"
cp "$WORK/mnt2/precious" "$MNT"
"$LETHEFS" umount "$WORK/mnt2"
umount_vault --wait
mount_vault -o ro
cmp "$WORK/precious" "$MNT/precious"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
