# SPDX-License-Identifier: MIT
# What a device keeps is damaged, cut short or deleted while it is not mounted (after a kill, so that the database's log is
# in use): either nothing is missing, or the mount is refused with the reason, and recover brings all that the vault
# has and keeps the rest aside. A damaged block costs its own file, is told, and keeps no other file from the vault.
. "$(dirname "$0")/lib.sh"

kill_mount() {
    local pid
    pid=$(daemon_pid)
    kill -9 "$pid"
    while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
    umount -l "$MNT"
}

make_vault
mount_vault --epoch 1h
mkdir "$WORK/published" "$WORK/local"
for i in 1 2 3; do head -c 40000 /dev/urandom >"$WORK/published/p$i"; done
"$BUILD/lethe-samples" "$WORK/published" 1
cp -a "$WORK/published/." "$MNT"
"$LETHEFS" sync "$MNT"
for i in 1 2 3; do
    head -c 40000 /dev/urandom >"$WORK/local/l$i"
    cp -a "$WORK/local/l$i" "$MNT"
    sync "$MNT/l$i"
done
kill_mount
cp -a "$XDG_STATE_HOME" "$WORK/state-good"
STATE=$(echo "$XDG_STATE_HOME"/lethefs/*)

again() {
    rm -rf "$XDG_STATE_HOME"
    cp -a "$WORK/state-good" "$XDG_STATE_HOME"
}

# refused CODE WHAT: the mount is refused; recover restores what was published and keeps the old state
refused() {
    expect "$1" "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS"
    grep -q recover "$WORK/err" || fail "$2: no remedy is named: $(cat "$WORK/err")"
    "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" >"$WORK/out"
    grep -q "set aside" "$WORK/out" || fail "$2: the old state is not mentioned"
    compgen -G "$STATE.before-*" >/dev/null || fail "$2: the old state is gone"
    mount_vault --epoch 1h -o ro
    same_trees "$WORK/published" "$MNT"
    umount_vault
    again
}

same_files() { # FOLDER FILE...
    local from=$1
    shift
    for file in "$@"; do cmp "$from/$file" "$MNT/$file"; done
}

size=$(stat -c %s "$STATE/meta-wal")
rm "$STATE/meta-wal"
refused 4 "no log"
truncate -s $((size - 10)) "$STATE/meta-wal"
refused 4 "a log without its end"
rm "$STATE/meta"
refused 4 "no database"
head -c 100000 /dev/urandom >"$STATE/meta"
refused 4 "noise for a database"
for page in 1 2 3 4 5 6 7 8; do # what a mount reads before it says that the tree answers, and perhaps others
    [ $((page * 4096)) -lt "$(stat -c %s "$STATE/meta")" ] || continue
    dd if=/dev/zero of="$STATE/meta" bs=4096 seek=$page count=1 conv=notrunc status=none
    code=0
    "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS" 2>"$WORK/err" || code=$?
    if [ $code = 0 ]; then
        ls "$MNT" >"$WORK/out" || fail "page $page of the database is damaged, and the mount shows no root"
        umount_vault
    else
        [ $code = 4 ] && grep -q recover "$WORK/err" || fail "page $page of the database: $code, $(cat "$WORK/err")"
    fi
    again
done
rm "$STATE/device-secret"
refused 3 "no device secret"

# what can be made anew
rm -f "$STATE/meta-mark" "$STATE"/pairs/*
head -c 40 /dev/urandom >"$STATE/writer"
rm -rf "$XDG_CACHE_HOME"
mount_vault --epoch 1h
same_files "$WORK/local" l1 l2 l3
same_files "$WORK/published" p1 p2 p3
# the cache goes while it is mounted
rm -rf "$XDG_CACHE_HOME"
same_files "$WORK/published" p1 p2 p3
umount_vault
again

# the state goes while it is mounted: no fsync is promised any more, and all of it still reaches the vault
mount_vault --epoch 1h
cp "$WORK/local/l1" "$MNT/before"
rm -rf "$XDG_STATE_HOME"
cp "$WORK/local/l2" "$MNT/behind"
expect 1 sync "$MNT/behind"
pid=$(getfattr -n user.lethefs.pid --only-values "$MNT")
umount "$MNT" # the control socket is gone too
while kill -0 "$pid" 2>/dev/null; do sleep 0.02; done
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault -o ro
same_files "$WORK/local" l1 l2 l3
same_files "$WORK/published" p1 p2 p3
cmp "$WORK/local/l1" "$MNT/before"
cmp "$WORK/local/l2" "$MNT/behind"
umount_vault
rm -rf "$WORK/state-good"

# damaged blocks
mount_vault --epoch 1h
for i in 1 2 3; do
    head -c 40000 /dev/urandom >"$WORK/local/l$i"
    cp "$WORK/local/l$i" "$MNT"
    sync "$MNT/l$i"
done
kill_mount
STATE=$(echo "$XDG_STATE_HOME"/lethefs/*)
dd if=/dev/zero of="$STATE/blocks" bs=4096 count=1 conv=notrunc status=none
mount_vault --epoch 1h
damaged=
for file in l1 l2 l3; do
    if ! cat "$MNT/$file" >"$WORK/bytes" 2>"$WORK/err"; then
        grep -q "Input/output error" "$WORK/err" || fail "$(cat "$WORK/err")"
        damaged="$damaged $file"
    else
        cmp "$WORK/bytes" "$WORK/local/$file"
    fi
done
damaged=${damaged# }
[ "$(wc -w <<<"$damaged")" = 1 ] || fail "one block was damaged, but these files: $damaged"
expect 4 "$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT" | grep -q "^damaged *1 " || fail "status does not tell"
echo more >"$MNT/more"
expect 4 "$LETHEFS" sync "$MNT"
rm -rf "$WORK/other"
XDG_STATE_HOME=$WORK/other "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mkdir "$WORK/mnt2"
XDG_STATE_HOME=$WORK/other XDG_CACHE_HOME=$WORK/other-cache MNT=$WORK/mnt2 mount_vault -o ro
[ "$(cat "$WORK/mnt2/more")" = more ] || fail "a file behind a damaged one is not in the vault"
for file in l1 l2 l3; do
    [ "$damaged" = "$file" ] || cmp "$WORK/local/$file" "$WORK/mnt2/$file"
done
expect 1 cat "$WORK/mnt2/$damaged"
"$LETHEFS" umount "$WORK/mnt2"
expect 4 "$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
rm "$MNT/$damaged"
"$LETHEFS" sync "$MNT"
umount_vault --wait
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
