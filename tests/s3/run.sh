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
TLS=
. "$HERE/gateway.sh"

finish() {
    local code=$?
    cd /
    grep -q " $MNT fuse.lethefs " /proc/self/mountinfo && { "$LETHEFS" umount "$MNT" || umount -l "$MNT"; }
    [ -z "$TLS" ] || kill "$TLS"
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

# expect CODE TEXT COMMAND...: the command exits so, and says the text in one line.
expect() {
    local want=$1 text=$2 code=0
    shift 2
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || code=$?
    [ "$code" = "$want" ] || fail "'$*' exited $code, not $want: $(cat "$WORK/err")"
    grep -q -- "$text" "$WORK/err" || fail "'$*' does not say '$text': $(cat "$WORK/err")"
    [ "$(wc -l <"$WORK/err")" = 1 ] || fail "'$*' says more than a line: $(cat "$WORK/err")"
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
radosgw-admin user create --uid=guest --display-name=guest --access-key=guest --secret-key=guestsecret >"$WORK/out" 2>&1
for command in status "init --passfile $WORK/pass --recovery-file $WORK/none"; do
    # shellcheck disable=SC2086
    expect 3 "denies access to bucket" env AWS_ACCESS_KEY_ID=guest AWS_SECRET_ACCESS_KEY=guestsecret "$LETHEFS" $command "$VAULT"
done
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout "$WORK/key" -out "$WORK/certificate" \
    -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>"$WORK/out"
cat "$WORK/key" "$WORK/certificate" >"$WORK/both"
python3 "$HERE/tls.py" "$GATEWAY_PORT" "$WORK/both" "$WORK/tls-port" &
TLS=$!
until [ -e "$WORK/tls-port" ]; do kill -0 $TLS; done
SECURE=https://127.0.0.1:$(cat "$WORK/tls-port")
expect 5 "certificate is not trusted" env -u AWS_CA_BUNDLE AWS_ENDPOINT_URL="$SECURE" "$LETHEFS" status "$VAULT"

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
expect 0 "set the clock" env FAKETIME_DONT_FAKE_MONOTONIC=1 faketime -f +1h "$LETHEFS" status "$VAULT"
"$LETHEFS" status "$VAULT" --endpoint "$SECURE" --cacert "$WORK/certificate" >"$WORK/out"
# A proxy is asked by the name that it alone knows: the gateway serves as one.
http_proxy=$AWS_ENDPOINT_URL "$LETHEFS" status "$VAULT" --endpoint http://bucket.invalid:7480 >"$WORK/out"

# A breach drill of the bucket: it shows no more than a folder does, every change is noticed, and nothing is written.
bucket() {
    gateway_curl "$AWS_ENDPOINT_URL/$LETHE_S3_BUCKET?list-type=2"
}
bucket >"$WORK/before"
expect 1 weaknesses "$LETHEFS" drill "$VAULT" --json --leak keys --passfile "$WORK/pass" --mutations 56
python3 - "$WORK/out" <<'END'
import json, sys
report = json.load(open(sys.argv[1]))
assert [w["name"] for w in report["weaknesses"]] == ["weak KDF"], report["weaknesses"] # 16 MiB a guess
assert report["inventory"]["artifacts"]["count"] > 3 and report["inventory"]["foreign_names"] == 0
tampering = report["tampering"]
assert tampering["changes"] == 56 and tampering["undetected"] == 0 and tampering["detected"] > 40, tampering
assert report["keys_leaked"]["tests"] >= 1
END
bucket | cmp - "$WORK/before" || fail "the drill changed the bucket"

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
