# SPDX-License-Identifier: MIT
# An ordinary user, with little locked memory and a careless umask: everything works, nobody else sees anything, and
# what the user may not do is refused.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || skip "needs root, to become somebody else"
command -v setpriv >/dev/null && command -v fusermount3 >/dev/null || skip "needs setpriv and fusermount3"
[ -e /etc/mtab ] || skip "fusermount3 needs /etc/mtab"
id nobody >/dev/null 2>&1 || skip "there is no user nobody"
UID_OF=$(id -u nobody) GID_OF=$(id -g nobody)
setpriv --reuid "$UID_OF" --regid "$GID_OF" --clear-groups test -w /dev/fuse || skip "users may not write to /dev/fuse"
chmod 755 "$WORK"
HOME_OF=$WORK/home
mkdir "$HOME_OF"
chown "$UID_OF:$GID_OF" "$HOME_OF"
cp "$LETHEFS" "$WORK/lethefs" # the build folder may be closed to others

cat >"$WORK/session" <<'S'
set -Eeuo pipefail
trap 'echo "FAILED: the user'\''s line $LINENO, $BASH_COMMAND, gave $?" >&2' ERR
refused() { # COMMAND...: it fails
    if "$@" 2>/dev/null; then
        echo "FAILED: '$*' was not refused" >&2
        exit 1
    fi
}
cd "$HOME"
umask 000
ulimit -l 64
ulimit -c unlimited
echo secret >pass
mkdir mnt
lethefs init vault --passfile pass --recovery-file rec --kdf-mem 16
lethefs mount vault mnt --passfile pass
echo mine >mnt/file
mkdir mnt/folder
mkfifo mnt/fifo
chmod 640 mnt/file
refused chown 0 mnt/file
refused mknod mnt/device c 1 3
chmod 000 mnt/folder
refused touch mnt/folder/x
chmod 700 mnt/folder
[ "$(stat -c '%u %a' mnt/file)" = "$(id -u) 640" ]
lethefs sync mnt
pid=$(lethefs status mnt --json | sed -n 's/.*"pid": \([0-9]*\).*/\1/p')
grep -aqE '__(asan|tsan)_init' "$(command -v lethefs)" || # which make mlock do nothing
    [ "$(sed -n 's/^VmLck:[^0-9]*\([0-9]*\).*/\1/p' /proc/$pid/status)" -gt 0 ] # the keys are locked
grep -q 'Max core file size *0 ' /proc/$pid/limits
[ -z "$(find .local .cache vault rec -perm /077)" ]
[ -d .local/state/lethefs ] && [ -d .cache/lethefs ]
S
as_user() {
    env -i PATH="$WORK:$PATH" HOME="$HOME_OF" setpriv --reuid "$UID_OF" --regid "$GID_OF" --clear-groups "$@"
}
leave() {
    local code=$?
    as_user fusermount3 -uz "$HOME_OF/mnt" 2>/dev/null || true
    return $code
}
trap 'leave || finish; finish' EXIT
as_user bash "$WORK/session"
! ls "$HOME_OF/mnt" 2>/dev/null || fail "somebody else, even root, looks into the mount"
refuse() { # CODE WHY COMMAND...
    local want=$1 why=$2
    shift 2
    expect "$want" as_user "$@"
    grep -q "$why" "$WORK/err" || fail "'$*' does not say '$why': $(cat "$WORK/err")"
}
cd "$HOME_OF"
as_user lethefs umount "$HOME_OF/mnt"
grep -aqE '__(asan|tsan)_init' "$WORK/lethefs" ||
    refuse 1 "locked memory" bash -c 'ulimit -l 0; lethefs mount ~/vault ~/mnt --passfile ~/pass'
if ! grep -q '^user_allow_other' /etc/fuse.conf 2>/dev/null; then
    refuse 1 user_allow_other lethefs mount vault mnt --passfile pass -o allow_other
fi
refuse 1 mnt lethefs mount vault "$WORK/mnt" --passfile pass # not the user's folder
refuse 1 "denied" env XDG_STATE_HOME="$WORK/state" XDG_CACHE_HOME="$WORK/cache" bash -c \
    "chmod 0 ~/.local/state/lethefs/*/device-secret; lethefs mount ~/vault ~/mnt --passfile ~/pass --state-dir ~/.local/state/lethefs"
