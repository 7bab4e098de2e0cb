# SPDX-License-Identifier: MIT
# Access control lists: the same commands in a mount and on the file system below end in the same lists and modes, and
# the kernel lets the same people in. They survive a remount and a restore from the vault.
. "$(dirname "$0")/lib.sh"

command -v setfacl >/dev/null || skip "no setfacl"
[ "$(id -u)" = 0 ] || skip "needs root to be several people"
mkdir "$WORK/plain" "$WORK/plain/probe"
setfacl -m u:1:r "$WORK/plain/probe" 2>/dev/null || skip "no lists on $WORK"
rmdir "$WORK/plain/probe"
chmod 755 "$WORK"

as() {
    local who=$1
    shift
    setpriv --reuid "$who" --regid "$who" --clear-groups -- "$@"
}

# What everybody may do, line by line.
tries() {
    local who path
    for who in 1001 1002 1003; do
        for path in file private sub sub/made guarded; do
            as "$who" test -r "$path" && echo "$who reads $path"
            as "$who" test -w "$path" && echo "$who writes $path"
        done
        as "$who" touch "guarded/by-$who" 2>/dev/null && echo "$who makes in guarded"
    done
    return 0
}

change_lists() {
    umask 027
    echo content >file
    setfacl -m u:1001:rw,g:1002:r,u:1003:0 file
    chmod 640 file             # the group bits are the mask
    echo secret >private
    setfacl -m u:1001:r private
    setfacl -b private          # back to a mode alone
    mkdir sub guarded
    setfacl -d -m u:1001:rwx,g:1002:rx,o::0 sub
    echo made >sub/made         # inherits; the umask has no say
    mkdir -m 700 sub/closed
    mkdir sub/deep
    mkfifo sub/deep/fifo
    mkdir sub/deep/deeper
    ln -s nowhere sub/link
    cp -a file sub/copy
    setfacl -k sub/deep
    echo plain >sub/deep/after
    chmod g-w sub/closed
    setfacl -m u:1002:rwx guarded
    setfacl -m m::r guarded
    chmod g+wx guarded
    setfacl -n -m u:1001:rwx,m::rx guarded
    echo equal >equal
    setfacl -m u::rw,g::r,o::r equal   # no more than a mode: no list
    setfacl -d -m u:1001:rw equal 2>/dev/null && echo "a default list on a file"
    setfacl -x u:1003 file
    setfacl -k equal
    touch group-bit
    chown 1001:1002 group-bit
    chmod 2775 group-bit
    as 1001 setfacl -m u:1003:r group-bit  # not of its group: the bit goes
    stat -c '%A %n' group-bit
}

look() {
    find . ! -type l | sort | xargs getfacl -n
    find . -printf '%M %p\n' | sort
    find . -name equal -exec getfattr -h -d -m system {} +
}

both() {
    (cd "$WORK/plain" && "$@") >"$WORK/want" 2>&1
    (cd "$MNT" && "$@") >"$WORK/have" 2>&1
    diff "$WORK/want" "$WORK/have" >&2 || fail "$*: the mount (>) differs"
}

make_vault
mount_vault -o allow_other
chmod 755 "$WORK/plain" "$MNT"
both change_lists
both look
both tries
[ -s "$WORK/have" ] || fail "nobody may do anything"
umount_vault --wait
mount_vault -o allow_other
both look
umount_vault --wait
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault -o allow_other
both look
