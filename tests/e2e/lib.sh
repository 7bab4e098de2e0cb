# SPDX-License-Identifier: MIT
# What the end-to-end tests share. Sourced with the build folder in $1; each test works in a folder of its own, $WORK,
# with its own state and cache, and leaves nothing mounted. SEED (printed; always the same in the quick form) makes
# a run repeatable.
set -Eeuo pipefail
umask 022 # whatever the caller has: some tests are other users too

# No command stops a test without a word: which one, where, and on whose behalf.
stopped() {
    local code=$1 command=$2 at=1
    printf 'FAILED: %s gave %s' "'${command%%$'\n'*}'" "$code"
    while [ $at -lt ${#BASH_SOURCE[@]} ]; do
        printf ' %s %s:%s' "$([ $at = 1 ] && echo in || echo from)" "${BASH_SOURCE[at]##*/}" "${BASH_LINENO[at - 1]}"
        at=$((at + 1))
    done
    echo
}
trap 'stopped $? "$BASH_COMMAND" >&2' ERR

BUILD=$1
LETHEFS=$BUILD/lethefs
SHARED=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/../shared/photos
SEED=${SEED:-$([ -n "${LETHE_LONG:-}" ] && echo $RANDOM || echo 1)}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lethefs-e2e.XXXXXX")
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
VAULT=${VAULT:-$WORK/vault} # or s3://bucket/prefix, with AWS_* in the environment
MNT=$WORK/mnt
PASS=$WORK/pass
mkdir "$MNT"
echo "correct horse" >"$PASS"
echo "seed $SEED"

# In a sanitizer build the daemon's reports go to files (its standard error ends when it is ready); finish looks at
# them. Leaks are looked for where a program ends by exit(), which the daemon in the background does not (mount -f
# does), and only for root, whom nothing keeps from tracing.
REPORTS=$WORK/sanitizer
LEAKS=$([ "$(id -u)" = 0 ] && echo 1 || echo 0)
export ASAN_OPTIONS=log_path=$REPORTS:detect_leaks=$LEAKS${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export UBSAN_OPTIONS=log_path=$REPORTS:print_stacktrace=1${UBSAN_OPTIONS:+:$UBSAN_OPTIONS}
export TSAN_OPTIONS=log_path=$REPORTS:second_deadlock_stack=1${TSAN_OPTIONS:+:$TSAN_OPTIONS}

# Whether the daemon is a sanitizer's: what is done again and again needs fewer rounds there.
sanitized() {
    grep -aqE '__(asan|tsan)_init' "$LETHEFS"
}

skip() {
    echo "skipped: $*"
    exit 77
}

fail() {
    echo "FAILED: $*" >&2
    exit 1
}

mounted() {
    grep -q " ${1// /\\\\040} .*fuse.lethefs" /proc/self/mountinfo # where a space stands as \040
}

# The daemon of this test's vault, by its control answer.
daemon_pid() {
    "$LETHEFS" status "$MNT" --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pid"])'
}

finish() {
    local code=$?
    cd /
    for at in "$MNT" "$WORK"/mnt*; do
        mounted "$at" && { "$LETHEFS" umount "$at" || umount -l "$at"; }
    done 2>/dev/null
    if compgen -G "$REPORTS.*" >/dev/null; then
        head -n 60 "$REPORTS".* >&2
        code=1
    fi
    if [ $code = 0 ] || [ $code = 77 ]; then
        rm -rf "$WORK"
    else
        echo "left for a look: $WORK" >&2
    fi
    exit $code
}
trap finish EXIT

[ -w /dev/fuse ] || skip "no /dev/fuse"

make_vault() {
    "$LETHEFS" init "$VAULT" --passfile "$PASS" --recovery-file "$WORK/recovery" --kdf-mem 16 "$@"
}

# TAKE_OVER=1 in the environment: the store of $VAULT has no conditional writes, so that a device that writes after
# another has to take the vault over.
mount_vault() {
    case "${TAKE_OVER:-} $*" in
    1*-o*ro* | 1*--at* | 1*degraded*) ;;
    1*) set -- --take-over "$@" ;;
    esac
    "$LETHEFS" mount "$VAULT" "$MNT" --passfile "$PASS" "$@"
}

umount_vault() {
    "$LETHEFS" umount "$MNT" "$@"
}

# expect CODE COMMAND...: runs it, wants that exit code and exactly one line on standard error.
expect() {
    local want=$1 code=0
    shift
    "$@" >"$WORK/out" 2>"$WORK/err" </dev/null || code=$?
    [ "$code" = "$want" ] || fail "'$*' exited $code, not $want: $(cat "$WORK/err")"
    if [ "$want" != 0 ]; then
        [ "$(wc -l <"$WORK/err")" -ge 1 ] || fail "'$*' gave no error line"
    fi
}

# What lies in the vault, be it a folder or a bucket: list, get, put, flip, cut, swap, remove, save, restore.
objects() {
    python3 "$(dirname "${BASH_SOURCE[0]}")/objects.py" "$VAULT" "$@"
}

# rsync finds nothing to do, by content and all attributes.
same_trees() {
    local out
    out=$(rsync -aHAXn --checksum --delete --itemize-changes "$1/" "$2/")
    [ -z "$out" ] || fail "the trees differ: $out"
}

# Files that are hard on a file system.
make_odd_tree() {
    local at=$1 long
    mkdir -p "$at/sub/deeper" "$at/empty folder"
    : >"$at/empty"
    printf x >"$at/one byte"
    for size in 4194303 4194304 4194305; do
        head -c $size /dev/urandom >"$at/random-$size"
    done
    head -c 300000 /dev/zero >"$at/zeros"
    seq 1 60000 >"$at/text"
    long=$(printf 'n%.0s' $(seq 255))
    echo long >"$at/$long"
    echo utf >"$at/żółć-写真-📷.txt"
    echo newline >"$at/a
b"
    truncate -s 1G "$at/sparse"
    printf 'in the middle' | dd of="$at/sparse" bs=1 seek=600000000 conv=notrunc status=none
    ln -s ../elsewhere "$at/sub/symlink"
    ln -s "$(printf 't%.0s' $(seq 2000))" "$at/long symlink"
    echo linked >"$at/hard-1"
    ln "$at/hard-1" "$at/sub/hard-2"
    mkfifo "$at/fifo"
    echo attributes >"$at/xattr"
    setfattr -n user.colour -v 'blue and green' "$at/xattr"
    setfattr -n user.binary -v 0x000102ff "$at/xattr"
    touch -d '1961-04-12 06:07:00.123456789 UTC' "$at/text"
    touch -d '2061-07-28 12:00:00.987654321 UTC' "$at/zeros"
    chmod 000 "$at/one byte"
    chmod 2751 "$at/sub/deeper"
    echo deep >"$at/sub/deeper/file"
}
