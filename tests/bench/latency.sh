#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# What a distant store costs: tests/bench/latency.sh BUILD [DELAY-MS [PHOTOS]]
#
# A store on loopback adds DELAY-MS (50) to every answer. Measured, as one JSON object: importing 1,000 small files until
# sync returns; reading 200 files one after the other from an empty cache, with read-ahead and without; one large file;
# ls -lR; recover and mount; with the requests that each took. PHOTOS: a folder whose pictures are read in place of
# small files of random bytes. MANY=100000 in the environment: so many tiny files besides, for recover and mount.
set -euo pipefail
BUILD=$(realpath "$1")
DELAY=${2:-50}
PHOTOS=${3:-}
HERE=$(dirname "$(realpath "$0")")
WORK=$(mktemp -d)
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
PATH=$BUILD:$PATH
MNT=$WORK/mnt
mkdir "$MNT"
echo secret >"$WORK/pass"
python3 "$HERE/../tools/s3_fake.py" "$WORK/port" --delay "$(python3 -c "print($DELAY / 1000)")" &
SERVER=$!
finish() {
    mountpoint -q "$MNT" && lethefs umount "$MNT"
    kill $SERVER
    rm -rf "$WORK"
}
trap finish EXIT
until [ -s "$WORK/port" ]; do kill -0 $SERVER; done
AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$WORK/port")
export AWS_ENDPOINT_URL

requests() {
    curl -s "$AWS_ENDPOINT_URL/-/counts" | python3 -c 'import json,sys; print(sum(json.load(sys.stdin).values()))'
}
mounted() { lethefs mount s3://bucket/vault "$MNT" --passfile "$WORK/pass" "$@"; }
fresh() {
    lethefs umount "$MNT" --wait
    rm -rf "$XDG_CACHE_HOME"
    mounted "$@"
}
RESULTS=
timed() { # timed NAME COMMAND...
    local name=$1 asked start end
    shift
    asked=$(requests)
    start=$(date +%s%N)
    "$@" >/dev/null
    end=$(date +%s%N)
    RESULTS+="$(printf '"%s": {"seconds": %d.%03d, "requests": %d}, ' "$name" $(((end - start) / 1000000000)) \
        $(((end - start) / 1000000 % 1000)) $(($(requests) - asked)))"
}
import() {
    cp -r "$1" "$MNT/"
    lethefs sync "$MNT" --timeout 300s
}
one_by_one() {
    local file
    for file in "$1"/*; do cat "$file"; done
}

mkdir "$WORK/small" "$WORK/some" "$WORK/one"
python3 - "$WORK" <<'EOF'
import random, sys
random.seed(1)
for i in range(1000):
    open(f"{sys.argv[1]}/small/{i:04}", "wb").write(random.randbytes(random.randrange(500, 30000)))
for i in range(200):
    open(f"{sys.argv[1]}/some/{i:04}", "wb").write(random.randbytes(300000))
open(f"{sys.argv[1]}/one/large", "wb").write(random.randbytes(100000000))
EOF
if [ -n "$PHOTOS" ]; then
    rm "$WORK/some"/*
    find "$PHOTOS" -type f | sort | head -200 | while read -r file; do cp "$file" "$WORK/some/"; done
fi
lethefs init s3://bucket/vault --passfile "$WORK/pass" --recovery-file "$WORK/recovery" --kdf-mem 16
mounted
timed import_1000_small_files import "$WORK/small"
timed import_200_files import "$WORK/some"
timed import_100_MB import "$WORK/one"
fresh -o noreadahead
timed ls_lR ls -lR "$MNT"
timed read_200_files_without_readahead one_by_one "$MNT/some"
timed read_100_MB_without_readahead cat "$MNT/one/large"
fresh
timed read_200_files one_by_one "$MNT/some"
diff -r "$MNT/some" "$WORK/some" >&2
timed read_100_MB cat "$MNT/one/large"
if [ "${MANY:-0}" -gt 0 ]; then
    python3 - "$MNT" "$MANY" <<'EOF'
import os, sys
for i in range(int(sys.argv[2])):
    if i % 1000 == 0:
        os.mkdir(f"{sys.argv[1]}/folder-{i // 1000}")
    open(f"{sys.argv[1]}/folder-{i // 1000}/{i}", "w").write(f"file number {i}")
EOF
    lethefs sync "$MNT" --timeout 900s
fi
lethefs umount "$MNT" --wait
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
timed recover lethefs recover s3://bucket/vault --passfile "$WORK/pass" --recovery-file "$WORK/recovery"
timed mount mounted
timed ls_lR_after_recover ls -lR "$MNT"
echo "{\"delay_ms\": $DELAY, ${RESULTS%, }}"
