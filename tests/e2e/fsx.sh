# SPDX-License-Identifier: MIT
# Random operations on a file and its copies against a model in memory, while epochs are cut and sealed all the time;
# then the same bytes after a remount, and from the vault alone.
. "$(dirname "$0")/lib.sh"

OPERATIONS=${OPERATIONS:-$([ -n "${LETHE_LONG:-}" ] && echo 1000000 || echo 6000)}

make_vault
mount_vault --epoch 1 --cache-size 64M
python3 "$(dirname "$0")/fsx.py" "$MNT" "$WORK/model" "$SEED" "$OPERATIONS"
same_trees "$WORK/model" "$MNT"
umount_vault --wait
mount_vault
same_trees "$WORK/model" "$MNT"
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault
same_trees "$WORK/model" "$MNT"
