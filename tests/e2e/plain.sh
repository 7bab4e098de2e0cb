# SPDX-License-Identifier: MIT
# -o ro,cache=plain: files that were read once are read by the kernel from nameless copies, with the same bytes, and no trace
# of them has a name; on a mount for writing, and without the capability, they are read as ever.
. "$(dirname "$0")/lib.sh"

[ "$(id -u)" = 0 ] || skip "passthrough needs root"
make_vault
mount_vault
python3 - "$MNT" "$SEED" <<'P'
import os, random, sys
rng = random.Random(int(sys.argv[2]))
for i, size in enumerate((1, 4096, 16384, 100001, 3000000)):
    with open(f"{sys.argv[1]}/file-{i}", "wb") as f:
        f.write(rng.randbytes(size))
os.link(f"{sys.argv[1]}/file-1", f"{sys.argv[1]}/linked")
P
cp "$MNT/file-3" "$MNT/same-bytes"
mkdir "$WORK/reference"
cp -a "$MNT/." "$WORK/reference/"
"$LETHEFS" sync "$MNT"
umount_vault

copies() {
    local fd count=0
    for fd in /proc/"$(daemon_pid)"/fd/*; do
        case $(readlink "$fd") in "$XDG_CACHE_HOME"*"(deleted)") count=$((count + 1)) ;; esac
    done
    echo $count
}
mount_vault -o ro,cache=plain 2>"$WORK/said"
if grep -q "going on with ordinary reads" "$WORK/said"; then
    skip "$(cat "$WORK/said")"
fi
same_trees "$WORK/reference" "$MNT"
for ((tries = 0; $(copies) < 5; tries++)); do # file-3 and same-bytes share one
    [ $tries -lt 600 ] || fail "$(copies) copies were made of 5"
    read -rt 0.1 <> <(:) || true
done
for task in /proc/"$(daemon_pid)"/task/*; do
    python3 -c 'import sys; sys.exit(int(sys.argv[1], 16) >> 21 & 1)' "$(awk '/CapPrm/ {print $2}' "$task/status")" ||
        fail "a thread of the daemon kept CAP_SYS_ADMIN"
done
same_trees "$WORK/reference" "$MNT"
python3 - "$MNT" "$WORK/reference" <<'P'
import mmap, os, sys
here, there = sys.argv[1:3]
for name in sorted(os.listdir(there)):
    want = open(f"{there}/{name}", "rb").read()
    fds = [os.open(f"{here}/{name}", os.O_RDONLY) for _ in range(3)]
    view = mmap.mmap(fds[0], 0, prot=mmap.PROT_READ)
    os.close(fds[0])
    assert view[:] == want and os.pread(fds[1], len(want) + 9, 0) == want, name
    assert os.pread(fds[2], 7, len(want) // 2) == want[len(want) // 2:][:7], name
    try:
        os.open(f"{here}/{name}", os.O_RDWR)
        sys.exit("opened for writing")
    except OSError:
        pass
P
umount_vault

mount_vault -o cache=plain 2>"$WORK/said"
grep -q "going on with ordinary reads" "$WORK/said" || fail "no word about a mount for writing"
same_trees "$WORK/reference" "$MNT"
echo more >>"$MNT/file-0"
umount_vault
