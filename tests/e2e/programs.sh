# SPDX-License-Identifier: MIT
# Unmodified programs work: tar, git, sqlite3, ImageMagick, exiv2, jpegtran, rsync; and what they leave is vaulted.
. "$(dirname "$0")/lib.sh"

make_vault
mount_vault --epoch 1s
cd "$MNT"

"$BUILD/lethe-samples" "$WORK" 7 small # into a plain folder
cp -a "$WORK"/landscape-1.jpg "$WORK"/landscape-1.png .

# tar
tar -cf "$WORK/a.tar" -C "$WORK" landscape-2.jpg landscape-2.png
mkdir tar && tar -xf "$WORK/a.tar" -C tar
cmp tar/landscape-2.png "$WORK/landscape-2.png"

# git
git init -q repository
(cd repository && git config user.email a@example.org && git config user.name a && cp ../landscape-1.jpg . &&
    for i in 1 2 3 4 5; do
        seq $((i * 100)) >numbers
        git add -A && git commit -qm "$i"
    done && git gc -q && git fsck --strict)

# sqlite3: rollback journal and write-ahead log
for mode in delete wal; do
    sqlite3 base.db "PRAGMA journal_mode=$mode; CREATE TABLE IF NOT EXISTS t(a, b);
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO t SELECT i, hex(randomblob(40)) FROM n;" >/dev/null
done
[ "$(sqlite3 base.db 'PRAGMA integrity_check; SELECT count(*) FROM t')" = "$(printf 'ok\n6000')" ] || fail "sqlite3"

# pictures
mogrify -resize 50% landscape-1.png
identify landscape-1.png | grep -q 10[67]x || fail "mogrify"
jpegtran -rotate 90 -outfile turned.jpg landscape-1.jpg
jpegtran -optimize landscape-1.jpg >optimised.jpg
djpeg optimised.jpg >"$WORK/1.ppm" && djpeg landscape-1.jpg >"$WORK/2.ppm" && cmp "$WORK/1.ppm" "$WORK/2.ppm"
exiv2 -M"set Exif.Photo.UserComment charset=Ascii a comment" landscape-1.jpg
exiv2 -K Exif.Photo.UserComment -Pv landscape-1.jpg | grep -q "a comment" || fail "exiv2"
rsync -a "$WORK/landscape-3.jpg" "$WORK/landscape-3.png" here/
rsync -a --inplace "$WORK/landscape-4.png" here/landscape-3.png
cmp "$WORK/landscape-4.png" here/landscape-3.png
mv here there && cp -a there there2 && diff -r there there2

mkdir "$WORK/copy"
cp -a "$MNT/." "$WORK/copy/"
"$LETHEFS" sync "$MNT"
cd /
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault
same_trees "$WORK/copy" "$MNT"
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
