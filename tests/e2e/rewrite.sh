# SPDX-License-Identifier: MIT
# A tag edit uploads no new artifact; the same photo twice as new files gives two artifacts that share nothing.
. "$(dirname "$0")/lib.sh"

make_vault
mount_vault --epoch 1h # one epoch each time it is asked for: none sees what a program leaves for a moment
"$BUILD/lethe-samples" "$WORK" "$SEED" small
artifacts() {
    objects list a/
}
cp "$WORK/landscape-2.jpg" "$MNT/photo.jpg"
"$LETHEFS" sync "$MNT"
artifacts >"$WORK/before"
[ "$(wc -l <"$WORK/before")" = 1 ] || fail "one photo gave $(wc -l <"$WORK/before") artifacts"

exiv2 -M"set Exif.Image.Artist a person" "$MNT/photo.jpg"
"$LETHEFS" sync "$MNT"
artifacts >"$WORK/after"
cmp "$WORK/before" "$WORK/after" || fail "a tag edit uploaded a new artifact"
[ "$(getfattr --only-values -n user.lethefs.kind "$MNT/photo.jpg")" = artifact ] || fail "the edited photo is no artifact"
cp "$MNT/photo.jpg" "$WORK/edited.jpg"
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault --epoch 1h
cmp "$MNT/photo.jpg" "$WORK/edited.jpg"
exiv2 -K Exif.Image.Artist -Pv "$MNT/photo.jpg" | grep -q "a person"

cp "$WORK/landscape-1.png" "$MNT/one.png"
cp "$WORK/landscape-1.png" "$MNT/two.png"
"$LETHEFS" sync "$MNT"
artifacts | comm -13 "$WORK/after" - >"$WORK/new"
[ "$(wc -l <"$WORK/new")" = 2 ] || fail "two photos gave $(wc -l <"$WORK/new") artifacts"
objects get "$(sed -n 1p "$WORK/new")" "$WORK/new-1"
objects get "$(sed -n 2p "$WORK/new")" "$WORK/new-2"
python3 - "$WORK/new-1" "$WORK/new-2" <<'P'
import sys, zlib
a, b = (open(path, "rb").read() for path in sys.argv[1:3])
def pixels(png):
    at, data = 8, b""
    width, channels = int.from_bytes(png[16:20], "big"), {0: 1, 2: 3, 6: 4}[png[25]]
    while at < len(png):
        size = int.from_bytes(png[at:at + 4], "big")
        if png[at + 4:at + 8] == b"IDAT":
            data += png[at + 8:at + 8 + size]
        at += size + 12
    rows, stride = zlib.decompress(data), 1 + width * channels
    return b"".join(rows[i + 1:i + stride] for i in range(0, len(rows), stride)) # without the filters' bytes
x, y = pixels(a), pixels(b)
n = min(len(x), len(y))
same = sum(p == q for p, q in zip(x, y))
# Equal bytes at equal places happen by chance once in 256. More than this: less than once in 1e9, for any n.
assert same < n / 256 + 8 * (n / 256) ** 0.5 + 16, (same, n)
print(f"{same} of {n} bytes equal by chance")
P
umount_vault
