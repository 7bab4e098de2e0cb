# SPDX-License-Identifier: MIT
# The breach drill on a real vault: it finds nothing in a sound one, finds planted weaknesses by name, and leaves the
# vault as it was, to the byte and the nanosecond.
. "$(dirname "$0")/lib.sh"

VAULT=$WORK/vault # in a folder, wherever the others have theirs: its times are compared
make_vault --kdf-mem 64
mount_vault
"$BUILD/lethe-samples" "$WORK" "$SEED"
cp "$WORK"/*.jpg "$WORK"/*.png "$MNT/"
seq 1 5000 >"$MNT/text"
"$LETHEFS" sync "$MNT"
for i in $(seq 30); do echo "small $i" >"$MNT/small-$i"; done # a pack, and another epoch
"$LETHEFS" sync "$MNT"
umount_vault
echo "battery staple" >"$WORK/second-pass"
"$LETHEFS" key add "$VAULT" --passfile "$PASS" --new-passfile "$WORK/second-pass" # slots that could change places

MUTATIONS=300
[ -z "${LETHE_LONG:-}" ] || MUTATIONS=10000
everything() { # names, contents, times of a folder
    (cd "$1" && find . -printf '%p %s %T@ %C@ %m\n' | sort && find . -type f -exec sha256sum {} + | sort)
}
touch -d '3 days ago' "$VAULT/tmp/left-over" # what an ordinary opening would sweep away
everything "$VAULT" >"$WORK/before"
find "$WORK/state" -printf '%p %s %T@\n' | sort >"$WORK/state-before"

# Without a passphrase, and without knowing the vault on this device.
expect 0 env XDG_STATE_HOME="$WORK/nowhere" "$LETHEFS" drill "$VAULT" --json --seed "$SEED"
[ ! -e "$WORK/nowhere" ] || fail "a state folder was made"
python3 - "$WORK/out" <<'EOF'
import json, sys
report = json.load(open(sys.argv[1]))
assert report["ok"] and not report["weaknesses"], report["weaknesses"]
assert all(c["broken"] for c in report["controls"]) and len(report["controls"]) == 7
for kind in ("artifacts", "others"):
    statistics = report["statistics"][kind]
    assert not statistics["told_from_noise"] and statistics["objects"] > 0
    assert statistics["entropy"] > 7.5
assert report["inventory"]["artifacts"]["count"] >= 8
assert report["inventory"]["repeated_nonces"] == 0 and report["inventory"]["unpadded"] == 0
apart = report["photo_a_or_b"]
assert apart["latents_that_differ_between_writes"] > 0.05, apart
assert not apart["told"] and len(apart["distinguishers"]) == 5 and not apart["control"]["chance"], apart
for pair in report["sealing"]:
    assert not pair["told"] and 0.99 < pair["npcr"] < 1 and 0.31 < pair["uaci"] < 0.36
EOF

# The keys leaked: figures for every thief at every strength, and a page that needs nothing from elsewhere.
expect 0 "$LETHEFS" drill "$VAULT" --json --seed "$SEED" --leak model --passfile "$PASS" --report "$WORK/report.html" \
    --mutations "$MUTATIONS"
python3 - "$WORK/out" <<'EOF'
import json, sys
report = json.load(open(sys.argv[1]))
assert report["ok"] and len(report["adversaries"]) == 6, report["adversaries"]
tampering = report["tampering"]
assert tampering["changes"] >= 300 and tampering["undetected"] == 0, tampering
# What nothing reads may come and go; of the rest nothing may, but for what objects carry behind their end.
idle = {"inject an object", "leave out of listings", "lie about sizes", "make up in listings", "inject a journal segment"}
loose = {"drop the tail", "extend", "duplicate the bytes"}
older = {"swap two journal segments", "duplicate a journal segment", "drop the oldest journal segment",
         "swap journal or snapshot parts"} # what a snapshot stands for is read by nobody
past = [k["change"] for k in tampering["kinds"]].index("swap two journal segments")
for i, kind in enumerate(tampering["kinds"]):
    assert kind["undetected"] == 0 and kind["detected"] + kind["without_effect"] > 3, kind
    if kind["change"] in idle:
        assert kind["detected"] == 0, kind
    elif i >= past: # journal, history, vault.json: each one of them is noticed
        assert kind["without_effect"] == 0 or kind["change"] in older, kind
    elif kind["change"] not in loose:
        assert kind["detected"] > kind["without_effect"], kind
leaked = report["keys_leaked"]
assert leaked["tests"] >= 1 and leaked["known"] >= 3
figures = {(t["strength"], t["thief"], t["known"]): t["psnr"] for t in leaked["thieves"]}
for strength in range(4):
    mean = figures[strength, "no artifact: mean picture", leaked["known"]]
    # The samples are each in the vault as PNG and JPEG: at strength 3 a known photo is worth as much as an artifact.
    assert figures[strength, "the public base pair", 0] > mean + (2 if strength < 3 else -3), figures
    assert figures[strength, "least squares", leaked["known"]] > mean + (2 if strength < 3 else -3), figures
    assert figures[strength, "the vault's own pair", 0] == figures[strength, "the public base pair", 0]
bits = leaked["bits"]
assert [b["artifact_bpp"] for b in bits] == sorted((b["artifact_bpp"] for b in bits), reverse=True)
assert all(s["photos"] > 3 for s in report["sizes"])
assert leaked["judged_by"] == "the photos" and leaked["stored_artifacts"]["photos"] >= 8, leaked["stored_artifacts"]
outside = {k["kind"]: k["files"] for k in report["outside_the_encrypter"]}
assert outside["other files"] == 31 and outside["video"] == 0, outside
kept = leaked["kept_artifacts"]
assert kept["artifacts"] >= kept["pictures"] > 3 and kept["most_of_one"] >= 1, kept
pairs = report["pairs"]
assert pairs["kept_in_vault"] == pairs["opened_with_both_secrets"] > 0 == pairs["opened_without_device_secret"], pairs
EOF
grep -qE '(src|href)="?(http|//|[a-z]*\.)' "$WORK/report.html" && fail "the page asks for something from elsewhere"
grep -qiE '<script|@import|url\(' "$WORK/report.html" && fail "the page has scripts or asks for something"
[ "$(grep -o '<img ' "$WORK/report.html" | wc -l)" -ge 4 ] || fail "the page has no pictures"
[ "$(grep -o '<svg ' "$WORK/report.html" | wc -l)" = 2 ] || fail "the page has no plots"

# Photos that the thief has from elsewhere: they are what he knows, and all of the vault's are there to be tried.
mkdir "$WORK/known"
"$BUILD/lethe-samples" "$WORK/known" $((SEED + 1))
[ -n "${LETHE_LONG:-}" ] || rm "$WORK"/known/sprite-* # from ten on a network is trained, which takes its time
echo "no picture" >"$WORK/known/notes.txt"
expect 0 "$LETHEFS" drill "$VAULT" --json --seed "$SEED" --leak keys --passfile "$PASS" --pairs "$WORK/known" --mutations 0
python3 - "$WORK/out" <<'EOF'
import json, sys
leaked = json.load(open(sys.argv[1]))["keys_leaked"]
known = leaked["known"]
assert known in (8, 12) and leaked["tests"] >= 8 and leaked["gallery"] == known + leaked["tests"], leaked
assert {t["known"] for t in leaked["thieves"]} == {0, 1, known} | ({10} if known > 10 else set())
assert any(t["thief"] == "own network" for t in leaked["thieves"]) == (known >= 10)
assert not any(t["thief"] == "the vault's own pair" for t in leaked["thieves"]) # only keys leaked
EOF
expect 1 "$LETHEFS" drill "$VAULT" --leak keys --passfile "$PASS" --pairs "$WORK/no-such-folder"

# The device stolen while unmounted; and with a thumbnail left in its cache.
expect 0 "$LETHEFS" drill "$VAULT" --json --leak device
python3 -c 'import json, sys
device = json.load(open(sys.argv[1]))["device"]
assert device["files"] > 3 and device["bytes"] > 100000 and device["with_parts_of_key_slots"] == 0, device' "$WORK/out"
find "$WORK/state" -printf '%p %s %T@\n' | sort | cmp - "$WORK/state-before" || fail "the drill changed the state"
cp -a "$WORK/cache" "$WORK/marked"
cp "$WORK/landscape-1.jpg" "$(find "$WORK/marked/lethefs" -mindepth 1 -type d | head -1)/thumbnail"
expect 1 "$LETHEFS" drill "$VAULT" --json --leak device --cache-dir "$WORK/marked/lethefs"
grep -q '"plaintext on the device"\|"no noise on the device"' "$WORK/out" || fail "a thumbnail in the cache was not found"

rm "$WORK"/marked/lethefs/*/thumbnail
cp "$VAULT/vault.json" "$(find "$WORK/marked/lethefs" -mindepth 1 -type d | head -1)/copy"
expect 1 "$LETHEFS" drill "$VAULT" --json --leak device --cache-dir "$WORK/marked/lethefs"
grep -q '"key slots on the device"' "$WORK/out" || fail "a copy of vault.json in the cache was not found"

expect 3 "$LETHEFS" drill "$VAULT" --leak keys --extpass 'echo wrong'
expect 3 env XDG_STATE_HOME="$WORK/nowhere" "$LETHEFS" drill "$VAULT" --leak keys --passfile "$PASS"
everything "$VAULT" >"$WORK/after"
cmp "$WORK/before" "$WORK/after" || fail "the drill changed the vault"

# Weaknesses, planted one at a time into a copy.
planted() { # NAME: the drill of $WORK/weak fails, and says so
    local code=0
    "$LETHEFS" drill "$WORK/weak" --json --seed "$SEED" >"$WORK/out" 2>"$WORK/err" || code=$?
    [ $code = 1 ] || fail "$1: exit $code: $(cat "$WORK/err")"
    python3 -c 'import json, sys
names = [w["name"] for w in json.load(open(sys.argv[1]))["weaknesses"]]
assert sys.argv[2] in names, names' "$WORK/out" "$1"
    rm -rf "$WORK/weak"
}
plant() {
    rm -rf "$WORK/weak"
    cp -a "$VAULT" "$WORK/weak"
}

plant
artifact=$(find "$WORK/weak/a" -name '*.png' | head -1)
cp "$artifact" "$WORK/weak/a/Rome, 1994.png"
planted "plaintext name"

plant
mkdir -p "$WORK/weak/a/12"
ln -s /etc/hostname "$WORK/weak/a/12/12$(printf '0%.0s' $(seq 30)).png"
planted "plaintext name" # a link is none of ours, whatever it is called

plant # sizes as they are
for i in $(seq 10 29); do
    mkdir -p "$WORK/weak/o/$i"
    head -c $((30000 + i * 37)) /dev/urandom >"$WORK/weak/o/$i/$i$(printf '0%.0s' $(seq 30))"
done
planted "no padding"

plant # one object's first bytes in two
find "$WORK/weak/o" -type f | head -2 | {
    read -r one && read -r other
    dd if="$one" of="$other" bs=24 count=1 conv=notrunc status=none
}
planted "reused nonce"

plant # what encrypt makes without a key: an artifact whose pixels are its payload
"$LETHEFS" encrypt "$WORK/landscape-1.png" "$WORK/bare.png" "$WORK/bare.residual" 2>/dev/null
cp "$WORK/bare.png" "$artifact" # the path is that of the copy before
planted "unsealed artifact"

VAULT=$WORK/cheap make_vault --recovery-file "$WORK/recovery-cheap" # 16 MiB a guess
cp -a "$WORK/cheap" "$WORK/weak"
planted "weak KDF"

expect 2 "$LETHEFS" drill
expect 2 "$LETHEFS" drill "$VAULT" --leak everything
expect 5 "$LETHEFS" drill "$WORK/no-such-folder"

# In a real browser, if there is one: nothing is asked for, and nothing is wider than a phone or a desk.
command -v chromium >/dev/null || { echo "no chromium: the page was not looked at"; exit 0; }
browser() {
    timeout 120 chromium --headless --no-sandbox --disable-gpu --user-data-dir="$WORK/browser" "$@" 2>/dev/null
}
browser --log-net-log="$WORK/net.json" --virtual-time-budget=5000 --dump-dom "file://$WORK/report.html" >"$WORK/dom"
grep -q 'What a stolen vault is worth' "$WORK/dom" || fail "the browser does not show the page"
grep -oE '"url": ?"(https?|ftp|wss?)://[^"]*' "$WORK/net.json" | grep -vE '(google|googleapis|gstatic|gvt1)\.com/' && fail "the page asks the network"
for width in 390 1280; do
    cat >"$WORK/frame.html" <<EOF
<body style="margin:0"><iframe id="f" style="border:0;width:${width}px;height:900px" src="report.html"
 onload="let d=this.contentDocument;document.title=d.documentElement.scrollWidth+' '+d.images.length+' '+
 [...d.images].filter(i=>!i.complete||!i.naturalWidth).length"></iframe>
EOF
    browser --allow-file-access-from-files --virtual-time-budget=5000 --dump-dom "file://$WORK/frame.html" >"$WORK/dom"
    title=$(sed -nE 's:.*<title>([^<]*)</title>.*:\1:p' "$WORK/dom" | head -1)
    read -r wide pictures broken <<<"$title"
    [ "$wide" -le "$width" ] && [ "$pictures" -ge 4 ] && [ "$broken" = 0 ] ||
        fail "at $width pixels the page is $wide wide, with $pictures pictures, $broken of them broken"
done
