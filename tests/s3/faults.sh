#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# faults.sh BUILD [OPERATIONS]: a tree is worked on while one request in five fails on the way (proxy.py). No file is lost
# or changed, check --deep finds nothing, every unmount ends, and a new device sees the same tree. LETHE_LONG=1: 2,000
# operations; S3_SERVER=PORT and AWS_* variables name a server that runs already.
. "$(dirname "$0")/../e2e/lib.sh"
. "$(dirname "$0")/gateway.sh"

OPERATIONS=${2:-${LETHE_LONG:+2000}}
OPERATIONS=${OPERATIONS:-100}
PHASES=${LETHE_LONG:+4}
PHASES=${PHASES:-2}
PROXY=
missing=$(gateway_missing) && [ -z "${S3_SERVER:-}" ] && skip "no $missing"
leave() {
    local code=$?
    ! mounted "$MNT" || umount -l "$MNT"
    [ -z "$PROXY" ] || kill "$PROXY" || true
    gateway_stop "$WORK/gateway"
    return $code
}
trap 'leave || finish; finish' EXIT
[ -n "${S3_SERVER:-}" ] || gateway_start "$WORK/gateway" || skip "the gateway does not start here"
DIRECT=$AWS_ENDPOINT_URL
VAULT=s3://$LETHE_S3_BUCKET/faults-$SEED

# COMMAND...: again while the store does not answer; what it says in the end counts.
persist() {
    local code
    for _ in $(seq 20); do
        code=0
        "$@" 2>"$WORK/err" || code=$?
        [ $code = 5 ] || break
    done
    cat "$WORK/err" >&2
    return $code
}

fresh_vault() {
    rm -f "$WORK/recovery"
    make_vault
}

start_proxy() {
    python3 "$(dirname "$0")/proxy.py" "${S3_SERVER:-$GATEWAY_PORT}" 0.2 "$SEED" "$WORK/port" >"$WORK/proxy.log" 2>&1 &
    PROXY=$!
    while [ ! -e "$WORK/port" ]; do kill -0 $PROXY; done
    export AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$WORK/port")
}

start_proxy
"$BUILD/lethe-samples" "$WORK" "$SEED"
mkdir "$WORK/model"
persist fresh_vault
for phase in $(seq $PHASES); do
    persist mount_vault --epoch 1s
    python3 "$(dirname "$0")/worker.py" "$MNT" "$WORK/model" $((SEED + phase)) $((OPERATIONS / PHASES)) "$WORK"
    case $phase in
    1) "$LETHEFS" sync "$MNT" --timeout 0 ;;
    2) persist "$LETHEFS" gc "$VAULT" --keep 0s --passfile "$PASS" ;;
    esac
    timeout 600 "$LETHEFS" umount "$MNT" --wait --timeout 0 || fail "umount --wait does not end"
    rm -rf "$XDG_CACHE_HOME" # all reads of the next phase go over the line
done
persist mount_vault
diff -r "$WORK/model" "$MNT"
umount_vault
persist "$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
kill "$PROXY"
wait "$PROXY"
PROXY=
cat "$WORK/proxy.log"
export AWS_ENDPOINT_URL=$DIRECT
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
diff -r "$WORK/model" "$MNT"
umount_vault
echo "$OPERATIONS operations"
