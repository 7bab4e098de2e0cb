# SPDX-License-Identifier: MIT
# The breach drill on a real vault: it finds nothing in a sound one, finds planted weaknesses by name, and leaves the
# vault as it was, to the byte and the nanosecond.
. "$(dirname "$0")/lib.sh"

make_vault --kdf-mem 64
mount_vault
"$BUILD/lethe-samples" "$WORK" "$SEED"
cp "$WORK"/*.jpg "$WORK"/*.png "$MNT/"
seq 1 5000 >"$MNT/text"
"$LETHEFS" sync "$MNT"
umount_vault

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
for pair in report["sealing"]:
    assert not pair["told"] and 0.99 < pair["npcr"] < 1 and 0.31 < pair["uaci"] < 0.36
EOF
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
head -c 40000 /dev/urandom >"$WORK/weak/o/$(basename "$(dirname "$(find "$WORK/weak/o" -type f | head -1)")")/x"
planted "plaintext name"

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
