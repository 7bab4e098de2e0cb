# SPDX-License-Identifier: MIT
# Pictures that decoders trip over: every PNG type, damaged, cut and lying files, decompression bombs. Each comes back
# byte for byte once the cache is lost, and the daemon's memory stays bounded.
. "$(dirname "$0")/lib.sh"

"$BUILD/lethe-samples" "$WORK" "$SEED"
sources=("$WORK/landscape-1.png" "$WORK/landscape-2.jpg" "$WORK/sprite-1.png")
if command -v convert >/dev/null; then
    convert "$WORK/landscape-3.jpg" -colorspace CMYK "$WORK/cmyk.jpg"
    convert "$WORK/landscape-3.jpg" -interlace Plane -sampling-factor 2x1 "$WORK/progressive.jpg"
    convert "$WORK/landscape-3.jpg" -colorspace Gray "$WORK/gray.jpg"
    sources+=("$WORK/cmyk.jpg" "$WORK/progressive.jpg" "$WORK/gray.jpg")
fi
if [ -d "$SHARED" ]; then
    [ -z "${LETHE_LONG:-}" ] || sources+=("$SHARED"/jpeg/*.jpg)
    sources+=("$SHARED/jpeg/narrowrst.jpg" "$SHARED/jpeg/badzerorun.jpg")
fi
python3 "$(dirname "$0")/pictures.py" "$WORK/src" "$SEED" "${sources[@]}"
echo "$(ls "$WORK/src" | wc -l) pictures"

make_vault
mount_vault
pid=$(daemon_pid)
cp "$WORK/src"/* "$MNT/"
"$LETHEFS" sync "$MNT"
"$LETHEFS" status "$MNT" | sed -n '/stored\|artifact\|segments\|packed\|pictures/p'
peak() {
    local kib
    kib=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$1/status")
    echo "the daemon's peak while $2: $((kib / 1024)) MiB"
    [ "$kib" -lt $((1200 << 10)) ] || fail "the daemon used $kib KiB while $2"
}
peak "$pid" sealing
umount_vault
rm -rf "$XDG_CACHE_HOME"
mount_vault
diff -r "$WORK/src" "$MNT"
peak "$(daemon_pid)" restoring
umount_vault
"$LETHEFS" check "$VAULT" --deep --passfile "$PASS"
