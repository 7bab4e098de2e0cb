# SPDX-License-Identifier: MIT
# Nothing readable at rest: no name, EXIF string or pixel run of what was stored stands in state, cache or vault, and
# every file there is uniform noise, but for a short list.
. "$(dirname "$0")/lib.sh"

make_vault
mount_vault
"$BUILD/lethe-samples" "$WORK" "$SEED"
mkdir "$MNT/holiday-in-lisbon"
cp "$WORK"/landscape-*.jpg "$WORK"/landscape-*.png "$WORK"/sprite-*.png "$MNT/holiday-in-lisbon/"
for i in $(seq 200); do echo "the quick brown fox $i jumps over the lazy dog" >"$MNT/holiday-in-lisbon/note-$i.txt"; done
seq 1 200000 >"$MNT/holiday-in-lisbon/numbers.txt"
setfattr -n user.secret-tag -v needle-in-an-attribute "$MNT/holiday-in-lisbon/numbers.txt"
ln -s a-target-nobody-knows "$MNT/holiday-in-lisbon/link"
"$LETHEFS" sync "$MNT"
cat "$MNT"/holiday-in-lisbon/landscape-*.png >/dev/null
echo "dirty and not in the vault yet: haystack" >"$MNT/holiday-in-lisbon/dirty.txt"
umount_vault
objects save "$WORK/seen"
python3 "$(dirname "$0")/at_rest.py" "$WORK" "$WORK/seen" "$XDG_STATE_HOME" "$XDG_CACHE_HOME"
