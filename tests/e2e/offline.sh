# SPDX-License-Identifier: MIT
# The store goes away: what is on the device can be read, everything can be written, what is absent fails after the
# timeout, status says why, umount does not wait, and all goes on when the store is back. Once with a folder that is
# moved away, once with a server that takes requests and never answers. ls -lR asks the store nothing.
. "$(dirname "$0")/lib.sh"

json() { # json KEY...: a value of status
    "$LETHEFS" status "$MNT" --json |
        python3 -c 'import json,sys
value = json.load(sys.stdin)
for key in sys.argv[1:]:
    value = value[key]
print(value if isinstance(value, int) and not isinstance(value, bool) else json.dumps(value))' "$@"
}

requests() {
    json store requests | python3 -c 'import json,sys; print(sum(json.load(sys.stdin).values()))'
}

# The device forgets the content, not the tree.
forget() {
    umount_vault
    rm -rf "$XDG_CACHE_HOME"
    mount_vault "$@"
}

fails_with_eio() {
    python3 - "$1" <<'EOF'
import errno, os, sys
try:
    fd = os.open(sys.argv[1], os.O_RDONLY)
    os.read(fd, 1)
except OSError as error:
    sys.exit(0 if error.errno == errno.EIO else f"errno {error.errno}")
sys.exit("it was read")
EOF
}

# What every kind of absence must show. away and back make it begin and end.
absence() {
    local options=$1 before
    mkdir -p "$WORK/want/sub"
    for i in 1 2 3 4; do
        head -c $((i * 40000)) /dev/urandom >"$WORK/want/file-$i"
        cp "$WORK/want/file-$i" "$WORK/want/sub/again-$i"
    done
    mkdir "$WORK/want/alone" # where no read of a neighbour brings it ahead
    head -c 9000000 /dev/urandom >"$WORK/want/alone/large"
    cp -r "$WORK/want" "$MNT/tree"
    "$LETHEFS" sync "$MNT"
    # shellcheck disable=SC2086
    forget $options --timeout 1s --epoch 1h
    "$LETHEFS" sync "$MNT" # a mount has asked for what it looks at by itself when that is answered

    before=$(requests)
    ls -lR "$MNT" >/dev/null
    stat -f "$MNT" >/dev/null
    [ "$(requests)" = "$before" ] || fail "ls -lR asked the store"
    cmp "$MNT/tree/file-1" "$WORK/want/file-1"
    [ "$(requests)" -gt "$before" ] || fail "a read of absent bytes asked the store nothing: is this counted?"
    [ "$(json store away)" = false ] || fail "the store is said to be away"
    "$LETHEFS" status "$MNT" | grep -q '^store *answers'

    away
    fails_with_eio "$MNT/tree/alone/large"
    cmp "$MNT/tree/file-1" "$WORK/want/file-1"
    echo new >"$MNT/tree/new"
    sync -f "$MNT"
    [ "$(cat "$MNT/tree/new")" = new ]
    mv "$MNT/tree/file-3" "$MNT/tree/moved"
    until [ "$(json store away)" = true ]; do
        fails_with_eio "$MNT/tree/alone/large"
    done
    [ "$(json store away_since)" -gt 1000000000000000000 ] || fail "away since when?"
    "$LETHEFS" status "$MNT" | grep -q '^store *away since .*: .' || fail "status does not say why"
    fails_with_eio "$MNT/tree/alone/large"

    back
    until cmp "$MNT/tree/alone/large" "$WORK/want/alone/large" 2>/dev/null; do :; done
    "$LETHEFS" sync "$MNT" --timeout 120s
    [ "$(json pending files)" = 0 ]
    [ "$(json store away)" = false ]

    # Away again: umount keeps what is new on the device, and ends although an upload is on its way.
    # shellcheck disable=SC2086
    forget $options --timeout 1s --epoch 1s
    away
    head -c 100000 /dev/urandom >"$WORK/late"
    cp "$WORK/late" "$MNT/tree/late"
    sync -f "$MNT"
    until [ "$(json pending busy)" = true ] || [ "$(json store away)" = true ]; do :; done
    umount_vault
    ! mounted "$MNT" || fail "still mounted"
    back
    # shellcheck disable=SC2086
    mount_vault $options
    cmp "$MNT/tree/late" "$WORK/late"
    "$LETHEFS" sync "$MNT" --timeout 120s
    umount_vault --wait
    "$LETHEFS" check "$VAULT" $options --deep --passfile "$PASS"
}

case $VAULT in
s3://*) ;; # the server of the second part stands for it
*)
    echo "a folder that is moved away"
    away() { mv "$VAULT" "$VAULT.elsewhere"; }
    back() { mv "$VAULT.elsewhere" "$VAULT"; }
    make_vault
    mount_vault
    absence ""
    ;;
esac
unset TAKE_OVER

echo "a server that takes requests and does not answer"
rm -rf "$WORK/want" "$XDG_STATE_HOME" "$XDG_CACHE_HOME" "$WORK/recovery"
python3 "$(dirname "$0")/../tools/s3_fake.py" "$WORK/port" &
SERVER=$!
trap 'kill $SERVER 2>/dev/null; finish' EXIT
until [ -s "$WORK/port" ]; do kill -0 $SERVER; done
PORT=$(cat "$WORK/port")
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret AWS_ENDPOINT_URL=http://127.0.0.1:$PORT
mode() { python3 -c 'import sys, urllib.request as u; u.urlopen(sys.argv[1], b"")' "$AWS_ENDPOINT_URL/-/$1"; }
away() { mode stall; }
back() { mode normal; }
VAULT=s3://bucket/vault
make_vault
mount_vault
absence ""

echo "what was durable on the device is there after kill -9, with no store to bring it again"
rm -rf "$WORK/kept"
mkdir "$WORK/kept"
for step in ${LETHE_LONG:+1 3} 2; do
    mount_vault --timeout 1s --epoch 1s
    head -c $((step * 100000)) /dev/urandom >"$WORK/kept/$step"
    cp "$WORK/kept/$step" "$MNT/kept-$step"
    case $step in
    1) sync -f "$MNT" ;;
    2) "$LETHEFS" sync "$MNT" ;;
    3)
        sync -f "$MNT"
        "$LETHEFS" sync "$MNT" >/dev/null 2>&1 & # somewhere on its way
        syncing=$!
        ;;
    esac
    kill -9 "$(daemon_pid)"
    [ $step != 3 ] || wait $syncing || true
    umount -l "$MNT"
    mount_vault --timeout 1s --epoch 1h
    away
    for file in "$WORK"/kept/*; do
        cmp "$MNT/kept-${file##*/}" "$file"
    done
    back
    umount_vault --wait
done

echo "a mount while the store is away"
mount_vault --offline
echo "known here" >"$MNT/known"
umount_vault --wait
mode refuse
expect 5 mount_vault
mount_vault --offline --timeout 1s --epoch 1s
[ "$(cat "$MNT/known")" = "known here" ] || fail "what is on the device cannot be read"
echo "written meanwhile" >"$MNT/meanwhile"
umount_vault
mount_vault --offline --timeout 1s --epoch 1s
mode normal
"$LETHEFS" sync "$MNT" --timeout 120s
umount_vault --wait
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"

# Another device has gone on from there in the meantime: nothing is published from here.
export XDG_STATE_HOME=$WORK/state-2 XDG_CACHE_HOME=$WORK/cache-2
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
[ "$(cat "$MNT/meanwhile")" = "written meanwhile" ] || fail "what was written offline is not in the vault"
echo "written there" >"$MNT/there"
umount_vault --wait
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
mode refuse
mount_vault --offline --epoch 1h
echo "written here" >"$MNT/here"
mode normal
expect 6 "$LETHEFS" sync "$MNT" --timeout 120s
[ "$(cat "$MNT/here")" = "written here" ] || fail "a file was lost"
umount_vault

# Nothing is kept any more once that is not asked for.
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault --offline
umount_vault
compgen -G "$XDG_STATE_HOME/lethefs/*/vault.json" >/dev/null || fail "nothing is kept"
mount_vault
umount_vault
! compgen -G "$XDG_STATE_HOME/lethefs/????????????????????????????????/vault.json" >/dev/null || fail "vault.json stays on the device"
mode refuse
expect 5 mount_vault --offline
mode normal
