# SPDX-License-Identifier: MIT
# All photos at hand and a tree of odd files survive copy, sync, umount, the loss of the whole cache, mount.
. "$(dirname "$0")/lib.sh"

SRC=$WORK/src
mkdir "$SRC"
"$BUILD/lethe-samples" "$SRC" "$SEED"
make_odd_tree "$SRC/odd"
if [ -d "$SHARED" ]; then
    mkdir "$SRC/photos"
    cp -a "$SHARED/dev" "$SHARED/jpeg" "$SRC/photos/"
    if [ -n "${LETHE_LONG:-}" ]; then
        cp -a "$SHARED/train" "$SRC/photos/"
    else # a slice of the many small ones
        mkdir "$SRC/photos/train"
        find "$SHARED/train" -name 'c00[0-3]*.jpg' -exec cp -a {} "$SRC/photos/train/" \;
    fi
fi

make_vault
mount_vault
cp -a "$SRC/." "$MNT/"
same_trees "$SRC" "$MNT"
"$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT"
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault
same_trees "$SRC" "$MNT"
[ "$(getfattr --only-values -n user.lethefs.state "$MNT/odd/text")" = vaulted ] || fail "a synced file is not vaulted"
getfattr -d -m - "$MNT/odd/xattr" 2>/dev/null | grep -q 'user.lethefs' && fail "virtual attributes are listed"
umount_vault

"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"

# A new device, from passphrase and recovery phrase alone.
rm -rf "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
"$LETHEFS" recover "$VAULT" --recovery-file "$WORK/recovery" --passfile "$PASS"
mount_vault
same_trees "$SRC" "$MNT"
umount_vault
