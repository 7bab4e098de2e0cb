#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# suite.sh BUILD rgw|swift [NAME...]: the end-to-end tests of tests/e2e (all, or those named) on a vault in a bucket of a
# real server (gateway.sh, swift.sh), one line each. What is about local paths alone (contract, user, drill, bench) runs as
# it always does.
set -euo pipefail

HERE=$(cd "$(dirname "$0")" && pwd)
BUILD=$(cd "$1" && pwd)
SERVER=$2
shift 2
case $SERVER in
rgw) . "$HERE/gateway.sh" ;;
swift)
    . "$HERE/swift.sh"
    export TAKE_OVER=1
    ;;
*) echo "usage: suite.sh BUILD rgw|swift [NAME...]" >&2; exit 2 ;;
esac
missing=$(gateway_missing) && { echo "skipped: no $missing"; exit 77; }
AT=$(mktemp -d "${TMPDIR:-/tmp}/lethefs-suite.XXXXXX")
finish() {
    local code=$?
    gateway_stop "$AT/server"
    [ $code != 0 ] || rm -rf "$AT"
    exit $code
}
trap finish EXIT
gateway_start "$AT/server" || { echo "skipped: the server does not start here"; exit 77; }

if [ "$SERVER" = swift ]; then # which alone minds the region that a signature names
    code=0
    AWS_REGION=eu-west-7 "$BUILD/lethefs" status "s3://$LETHE_S3_BUCKET/none" 2>"$AT/region" || code=$?
    [ $code = 5 ] && grep -q 'is in region us-east-1, not in eu-west-7' "$AT/region" || { cat "$AT/region"; exit 1; }
fi

[ $# -gt 0 ] || set -- $(cd "$HERE/../e2e" && ls *.sh | sed 's/\.sh$//' | grep -v '^lib')
failed=0
for name in "$@"; do
    began=$SECONDS code=0
    VAULT=s3://$LETHE_S3_BUCKET/$name bash "$HERE/../e2e/$name.sh" "$BUILD" >"$AT/$name.log" 2>&1 </dev/null || code=$?
    case $code in
    0) word=passed ;;
    77) word=skipped ;;
    *) word=FAILED failed=1 ;;
    esac
    echo "$SERVER $name: $word, $((SECONDS - began)) s"
    [ $word != FAILED ] || tail -n 5 "$AT/$name.log"
done
exit $failed
