# SPDX-License-Identifier: MIT
# lethefs bench tells figures that hang together, of the folder's pictures and of drawn ones, and leaves nothing behind.
set -euo pipefail
BUILD=$1
WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
mkdir "$WORK/all" "$WORK/some"
"$BUILD/lethe-samples" "$WORK/all" 5
cp "$WORK/all/landscape-3.png" "$WORK/all/landscape-3.jpg" "$WORK/some"
echo "no picture" >"$WORK/some/notes.txt"

"$BUILD/lethefs" bench "$WORK/some" --parts totals,quality,speed --threads 1 --json --svg "$WORK/curve.svg" >"$WORK/out.json"
python3 - "$WORK" <<'EOF'
import json, os, sys
import xml.dom.minidom
work = sys.argv[1]
out = json.load(open(f"{work}/out.json"))
assert out["pictures"] == 2, out
for kind, name in ("png", "landscape-3.png"), ("jpeg", "landscape-3.jpg"):
    t = out["totals"][kind]
    assert t["files"] == t["learned"] == 1 and t["bytes"] == os.path.getsize(f"{work}/some/{name}"), t
    assert t["pixels"] == 333 * 501
    parts = t["artifact_bytes"] + t["residual_bytes"] + t["recipe_bytes"]
    assert abs(t["ratio"] - parts / t["bytes"]) < 1e-9 and t["artifact_bytes"] > 0, t
    q = out["quality"][kind]
    psnr = [s["psnr"] for s in q["strengths"]]
    bpp = [s["bpp"] for s in q["strengths"]]
    assert psnr == sorted(psnr, reverse=True) and bpp == sorted(bpp, reverse=True), q
    assert all(0 < s["ssim"] < 1 for s in q["strengths"]), q
    assert len(q["artifact_curve"]) > 3 and len(q["artifact_curve"]) == len(q["jpeg_curve"])
kernels = [s["kernel"] for s in out["speed"]]
assert "scalar" in kernels and len(set(kernels)) == len(kernels), kernels
assert all(s["jpeg"]["decode_file_mp_s"] > s["jpeg"]["encode_verified_mp_s"] > 0 for s in out["speed"])
assert xml.dom.minidom.parse(f"{work}/curve.svg").getElementsByTagName("polyline").length == 2
EOF

before=$(find /tmp -maxdepth 1 -name 'lethefs-drawn-*' | sort)
"$BUILD/lethefs" bench --pictures 3 --parts totals | grep -q '^totals.png.ratio'
[ "$(find /tmp -maxdepth 1 -name 'lethefs-drawn-*' | sort)" = "$before" ]

status=0
"$BUILD/lethefs" bench "$WORK/some" --parts totals,nonsense 2>/dev/null || status=$?
[ $status = 2 ]
rm "$WORK"/some/landscape*
status=0
"$BUILD/lethefs" bench "$WORK/some" 2>/dev/null || status=$?
[ $status = 1 ]
