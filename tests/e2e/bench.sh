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

mkdir "$WORK/temporary"
TMPDIR=$WORK/temporary "$BUILD/lethefs" bench --pictures 3 --parts totals >"$WORK/totals"
grep -q '^totals.png.ratio' "$WORK/totals"
[ -z "$(ls -A "$WORK/temporary")" ]

status=0
"$BUILD/lethefs" bench "$WORK/some" --parts totals,nonsense 2>/dev/null || status=$?
[ $status = 2 ]
rm "$WORK"/some/landscape*
status=0
"$BUILD/lethefs" bench "$WORK/some" 2>/dev/null || status=$?
[ $status = 1 ]

# A store, beside curl alone; nothing is left in it.
{ command -v curl >/dev/null && [ -w /dev/fuse ]; } || exit 0
mkdir "$WORK/bin"
ln -s "$(command -v curl)" "$(command -v env)" "$(command -v rm)" "$(command -v fusermount3)" "$WORK/bin/"
python3 "$(dirname "$0")/../tools/s3_fake.py" "$WORK/port" &
SERVER=$!
trap 'kill $SERVER; rm -rf "$WORK"' EXIT
until [ -s "$WORK/port" ]; do kill -0 $SERVER; done
export AWS_ENDPOINT_URL=http://127.0.0.1:$(cat "$WORK/port") AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
PATH=$WORK/bin TMPDIR=$WORK "$BUILD/lethefs" bench --json --store s3://bucket/some/where --parts store --objects 5 \
    --object-size 70K --rounds 1 >"$WORK/store.json"
python3 - "$WORK/store.json" <<'EOF2'
import json, sys
store = json.load(open(sys.argv[1]))["store"]
assert store["objects"] == 5 and store["requests"] == 32, store
found = {p["program"]: p for p in store["programs"]}
assert set(found) == {"curl", "lethefs transport", "lethefs mount"}, store
assert all(p["up_s"] > 0 and p["down_s"] > 0 for p in found.values()), store
assert found["curl"]["up_to_curl"] == found["curl"]["down_to_curl"] == 1, store
EOF2
[ -z "$(curl -s "$AWS_ENDPOINT_URL/bucket?list-type=2" | grep -o '<Key>')" ]
[ -z "$(find "$WORK" -maxdepth 1 -name 'lethefs-bench-*')" ]
status=0
"$BUILD/lethefs" bench --parts store 2>/dev/null || status=$?
[ $status = 2 ]
