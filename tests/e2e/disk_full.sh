# SPDX-License-Identifier: MIT
# A disk that is smaller than --cache-size says: writers wait for the vault to take what they wrote, as at the limit.
. "$(dirname "$0")/lib.sh"

mkdir "$WORK/disk"
mount -t tmpfs -o size=48m disk "$WORK/disk" 2>/dev/null || skip "needs root to mount a small disk"
leave() {
    local code=$?
    umount_vault 2>/dev/null || true
    umount "$WORK/disk"
    (exit $code)
    finish
}
trap leave EXIT

make_vault --state-dir "$WORK/disk/state"
mount_vault --state-dir "$WORK/disk/state" --cache-dir "$WORK/disk/cache" --cache-size 1G
head -c 150000000 /dev/urandom >"$WORK/big"
cp "$WORK/big" "$MNT/big" || fail "a copy larger than the disk did not wait"
cmp "$WORK/big" "$MNT/big" || fail "it came back different"
read -r size avail files < <(df --output=size,avail,iavail -B1M "$MNT" | tail -1)
[ "$avail" -le 48 ] && [ "$size" -le 96 ] || fail "df promises more than the disk has: $avail MiB of $size"
[ "$files" -le $((48 << 11)) ] || fail "df promises $files files on a disk of 48 MiB"
head -c 100000000 /dev/zero >"$WORK/disk/other" || true
avail=$(df --output=avail -B1M "$MNT" | tail -1)
[ "$avail" -le $((48 - $(du -sm "$WORK/disk/other" | cut -f1))) ] || fail "df promises $avail MiB on a disk that is full"
rm "$WORK/disk/other"
umount_vault --wait
