#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# kill.sh BUILD [ROUNDS]: kill -9 of the daemon, of the whole server (which keeps its data on disk), or of both, at random
# moments of work and of publishing. Afterwards both come up again; what was made durable on the device is there, check
# --deep finds nothing, and a new device sees the same tree. SEED=N repeats the moments. LETHE_LONG=1, or a number of rounds, makes it run.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/gateway.sh"

ROUNDS=${2:-${LETHE_LONG:+12}}
[ -n "$ROUNDS" ] || skip "a long run: LETHE_LONG=1, or a number of rounds"
missing=$(gateway_missing) && skip "no $missing"
leave() {
    local code=$?
    ! mounted "$MNT" || umount -l "$MNT"
    gateway_stop "$WORK/gateway"
    return $code
}
trap 'leave || finish; finish' EXIT
gateway_start "$WORK/gateway" bluestore || skip "the gateway does not start here"
VAULT=s3://$LETHE_S3_BUCKET/kill-$SEED
"$BUILD/lethe-samples" "$WORK" "$SEED"
mkdir "$WORK/model"
make_vault
RANDOM=$SEED
nap() { # at most so many milliseconds
    python3 -c "import time; time.sleep($((RANDOM % $1)) / 1000)"
}
for round in $(seq "$ROUNDS"); do
    victim=$((round % 3)) # 0 the daemon, 1 the server, 2 both
    mount_vault --epoch 1s
    pid=$(daemon_pid)
    python3 "$(dirname "$0")/worker.py" "$MNT" "$WORK/model" $((SEED + round)) 60 "$WORK"
    sync -f "$MNT"
    sync "$MNT" # durable on this device
    timeout 300 "$LETHEFS" sync "$MNT" --timeout 0 >/dev/null 2>&1 &
    syncing=$!
    nap 2500
    [ $victim = 0 ] || gateway_kill "$WORK/gateway"
    if [ $victim = 1 ]; then
        gateway_up "$WORK/gateway"
        wait $syncing || fail "sync does not resume once the server is back"
        diff -r "$WORK/model" "$MNT"
    else
        kill -9 "$pid"
        wait $syncing || true
        umount -l "$MNT"
        [ $victim = 0 ] || gateway_up "$WORK/gateway"
        mount_vault
        diff -r "$WORK/model" "$MNT"
    fi
    timeout 300 "$LETHEFS" umount "$MNT" --wait --timeout 0 || fail "umount --wait does not end"
    "$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
done
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
diff -r "$WORK/model" "$MNT"
umount_vault
echo "$ROUNDS rounds"
