# SPDX-License-Identifier: MIT
# kill -9 while something is under way: sync, umount, mount, gc, a new passphrase, a new key slot, recover. Afterwards
# the next command just works, every file is there, one of the two passphrases opens the vault, check finds nothing, and
# a new device sees the same tree.
. "$(dirname "$0")/lib.sh"

ROUNDS=${LETHE_LONG:+12}
ROUNDS=${ROUNDS:-$(sanitized && echo 1 || echo 2)}
RANDOM=$SEED
make_vault
mkdir "$WORK/src" "$WORK/pictures"
"$BUILD/lethe-samples" "$WORK/pictures" "$SEED" small
echo "another passphrase" >"$WORK/pass2"

nap() { # at most so many milliseconds
    python3 -c "import time; time.sleep($((RANDOM % $1)) / 1000)"
}

ended() { # PID: one begun late would meet the next mount
    while kill -0 "$1" 2>/dev/null; do sleep 0.02; done
}

kill_daemon() { # the mount's pid, then whatever is left of the mount
    disown -a # no word of it
    kill -9 "$1" 2>/dev/null || true
    ended "$1"
    umount -l "$MNT" 2>/dev/null || true
}

change() { # what the tree should be, and the same in the mount
    local n=$1 pictures
    mkdir "$WORK/src/$n"
    pictures=("$WORK"/pictures/*)
    for i in 1 2 3; do
        cp "${pictures[RANDOM % ${#pictures[@]}]}" "$WORK/src/$n/"
        head -c $((RANDOM * 20)) /dev/urandom >"$WORK/src/$n/random-$i"
    done
    if [ -d "$WORK/src/$((n - 3))" ]; then
        rm -r "$WORK/src/$((n - 3))" "$MNT/$((n - 3))"
    fi
    cp -a "$WORK/src/$n" "$MNT/"
    touch -d "@$((n * 1000000))" "$WORK/src" "$MNT"
    sync -f "$MNT" # the kernel's pages to the daemon; FUSE tells it nothing more, so
    sync "$MNT"    # fsync of the folder: durable on this device
}

n=0
for round in $(seq "$ROUNDS"); do
    for phase in sync umount umount-wait mount gc passwd key; do
        n=$((n + 1))
        mount_vault --epoch 1s
        pid=$(daemon_pid)
        change $n
        case $phase in
        sync)
            "$LETHEFS" sync "$MNT" 2>/dev/null &
            nap 1500
            kill_daemon "$pid"
            ended $!
            ;;
        umount)
            "$LETHEFS" umount "$MNT" 2>/dev/null &
            nap 100
            kill_daemon "$pid"
            ended $!
            ;;
        umount-wait)
            "$LETHEFS" umount "$MNT" --wait 2>/dev/null &
            nap 1500
            kill_daemon "$pid"
            ended $!
            ;;
        mount)
            umount_vault
            "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS" -f 2>/dev/null &
            nap 300
            kill_daemon $!
            ;;
        gc)
            "$LETHEFS" sync "$MNT"
            "$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS" >/dev/null 2>&1 &
            collecting=$!
            nap 200
            kill_daemon "$pid"
            ended $collecting # begun late, it has the device's lock itself
            ;;
        passwd | key)
            if [ $phase = passwd ]; then
                "$LETHEFS" passwd "$VAULT" --passfile "$PASS" --new-passfile "$WORK/pass2" 2>/dev/null &
            else
                "$LETHEFS" key add "$VAULT" --passfile "$PASS" --new-passfile "$WORK/pass2" >/dev/null 2>&1 &
            fi
            changing=$!
            nap 250
            kill -9 $changing 2>/dev/null || true
            wait $changing 2>/dev/null || true
            "$LETHEFS" sync "$MNT" # publishing goes on beside a vault.json that was being changed
            umount_vault
            if ! "$LETHEFS" key list "$VAULT" --passfile "$PASS" >/dev/null 2>"$WORK/err"; then
                "$LETHEFS" passwd "$VAULT" --passfile "$WORK/pass2" --new-passfile "$PASS"
            fi
            ;;
        esac
        wait || true
        mount_vault
        same_trees "$WORK/src" "$MNT" || fail "after a kill in $phase"
        umount_vault
        "$LETHEFS" check "$VAULT" --passfile "$PASS" >/dev/null || fail "check finds faults after a kill in $phase"
    done
    # a recover that is cut off is begun anew
    mount_vault
    umount_vault --wait
    "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" --state-dir "$WORK/elsewhere" \
        >/dev/null 2>&1 &
    cut=$!
    nap 300
    kill -9 $cut 2>/dev/null || true
    wait $cut 2>/dev/null || true
    "$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS" --state-dir "$WORK/elsewhere" \
        >/dev/null
    mount_vault --state-dir "$WORK/elsewhere" --cache-dir "$WORK/elsewhere-cache" -o ro
    same_trees "$WORK/src" "$MNT"
    umount_vault
    rm -rf "$WORK"/elsewhere*
done
mount_vault
umount_vault --wait
"$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS"
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
