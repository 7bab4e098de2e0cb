#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh BUILD: the S3 backend against a real server. The contract of stores; then a vault in a bucket from init to
# recovery on a device that never saw it, a server that falls silent under a mount, and the errors that people meet.
# Exits 77 where the server's programs are not installed.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "$1" && pwd)
LETHEFS=$BUILD/lethefs
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lethefs-s3.XXXXXX")
MNT=$WORK/mnt
VAULT=s3://lethe-test/vault
. "$HERE/gateway.sh"

finish() {
    local code=$?
    cd /
    grep -q " $MNT fuse.lethefs " /proc/self/mountinfo && { "$LETHEFS" umount "$MNT" || umount -l "$MNT"; }
    gateway_stop "$WORK/gateway"
    if [ $code = 0 ] || [ $code = 77 ]; then
        rm -rf "$WORK"
    else
        echo "left for a look: $WORK" >&2
    fi
    exit $code
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

# expect CODE TEXT COMMAND...: the command exits so, and says the text.
expect() {
    local want=$1 text=$2 code=0
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || code=$?
    [ "$code" = "$want" ] || fail "'$*' exited $code, not $want: $(cat "$WORK/err")"
    grep -q -- "$text" "$WORK/err" || fail "'$*' does not say '$text': $(cat "$WORK/err")"
}

# The XML of the whole bucket (one page).
bucket_keys() {
    gateway_curl "$AWS_ENDPOINT_URL/$LETHE_S3_BUCKET?list-type=2" | grep -o '<Key>[^<]*' | sed 's/<Key>//'
}

missing=$(gateway_missing) && { rm -rf "$WORK"; echo "skipped: no $missing"; exit 77; }
trap finish EXIT
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
mkdir "$MNT" "$WORK/photos"
echo "correct horse" >"$WORK/pass"
"$BUILD/lethe-samples" "$WORK/photos" 1 >/dev/null
head -c 9000000 /dev/urandom >"$WORK/photos/film"
gateway_start "$WORK/gateway" || { echo "skipped: the gateway does not start here"; exit 77; }

"$BUILD/tests/test_store" >"$WORK/contract.log" 2>&1 || { cat "$WORK/contract.log"; fail "the contract of stores"; }
grep -q 'OK.*(s3)' "$WORK/contract.log" || fail "the contract was not asked of S3"

expect 3 "secret key" env AWS_SECRET_ACCESS_KEY=wrong "$LETHEFS" status "$VAULT"
expect 3 "access key" env AWS_ACCESS_KEY_ID=nobody "$LETHEFS" status "$VAULT"
expect 3 "no credentials" env -u AWS_ACCESS_KEY_ID -u AWS_SECRET_ACCESS_KEY HOME="$WORK" "$LETHEFS" status "$VAULT"
expect 5 "no bucket" "$LETHEFS" status s3://no-such-bucket/vault
expect 5 "does not answer" env AWS_ENDPOINT_URL=http://127.0.0.1:1 "$LETHEFS" status "$VAULT"
expect 2 "no endpoint" env AWS_ENDPOINT_URL=127.0.0.1 "$LETHEFS" status "$VAULT"
expect 2 "names no bucket" "$LETHEFS" status s3://

"$LETHEFS" init "$VAULT" --passfile "$WORK/pass" --recovery-file "$WORK/recovery" --kdf-mem 16
"$LETHEFS" mount "$VAULT" "$MNT" --passfile "$WORK/pass"
cp -r "$WORK/photos" "$MNT/"
"$LETHEFS" sync "$MNT"
bucket_keys | grep -q '^vault/head$' || fail "there is no head in the bucket"
bucket_keys | grep -q '/tmp/' && fail "a probe was left behind"

# The server falls silent: reads of what is here and all writes go on; it wakes: the rest is published.
kill -STOP "$(cat "$WORK/gateway"/client.*.pid)"
echo "written while it was away" >"$MNT/away"
diff -r "$WORK/photos" "$MNT/photos"
kill -CONT "$(cat "$WORK/gateway"/client.*.pid)"
"$LETHEFS" sync "$MNT" --timeout 120s
"$LETHEFS" umount "$MNT" --wait
"$LETHEFS" check "$VAULT" --passfile "$WORK/pass" --deep

export XDG_STATE_HOME=$WORK/state-2 XDG_CACHE_HOME=$WORK/cache-2
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$WORK/pass"
"$LETHEFS" mount "$VAULT" "$MNT" --passfile "$WORK/pass"
diff -r "$WORK/photos" "$MNT/photos"
[ "$(cat "$MNT/away")" = "written while it was away" ] || fail "what was written meanwhile is gone"
rm -r "$MNT/photos"
"$LETHEFS" umount "$MNT" --wait
"$LETHEFS" gc "$VAULT" --passfile "$WORK/pass" --keep 0
"$LETHEFS" check "$VAULT" --passfile "$WORK/pass" --deep
echo "done"
