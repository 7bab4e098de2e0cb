# SPDX-License-Identifier: MIT
# What programs do to files has the same effect in the mount as on the file system beneath it, and what it left behind
# survives the way through the vault.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || skip "owners and modes need root"
make_vault
mount_vault --epoch 1s -o allow_other
mkdir "$WORK/reference" "$MNT/here"
python3 "$(dirname "$0")/posix.py" "$MNT/here" "$WORK/reference" "$SEED" ${LETHE_LONG:+long}
compare() {
    local out
    # The times differ as the two were made one after the other; the bytes and all else may not.
    out=$(rsync -aHAXn --no-times --checksum --delete --itemize-changes "$WORK/reference/" "$MNT/here/")
    [ -z "$out" ] || fail "the trees differ: $(head -5 <<<"$out")"
}
compare
# Trees of this machine, as they are now.
mkdir "$MNT/include"
cp -a /etc "$WORK/etc"
cp -a "$WORK/etc" "$MNT/etc"
same_trees "$WORK/etc" "$MNT/etc"
if [ -n "${LETHE_LONG:-}" ] && [ -d /usr/include ]; then
    cp -a /usr/include/. "$MNT/include/"
fi
"$LETHEFS" sync "$MNT"
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault
compare
same_trees "$WORK/etc" "$MNT/etc"
[ -z "${LETHE_LONG:-}" ] || same_trees /usr/include "$MNT/include"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
