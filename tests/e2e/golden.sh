# SPDX-License-Identifier: MIT
# The vaults of tests/golden, made by an earlier build: recovered from passphrase and phrase, they hold what was put in,
# and can be written on.
. "$(dirname "$0")/lib.sh"

HERE=$(cd "$(dirname "$0")/.." && pwd)
for fidelity in exact split; do
    golden=$HERE/golden/vault-$fidelity
    rm -rf "$WORK/state" "$WORK/cache" "$WORK/stores"
    cp -a "$golden" "$WORK/stores"
    VAULT=$WORK/stores/vault
    SECOND=()
    [ "$fidelity" = exact ] || SECOND=(--residuals "$WORK/stores/second")
    "$LETHEFS" recover "$VAULT" "${SECOND[@]}" --recovery-file "$golden/recovery" --passfile "$golden/passphrase"
    "$LETHEFS" check "$VAULT" "${SECOND[@]}" --deep --passfile "$golden/passphrase"
    "$LETHEFS" mount "$VAULT" "$MNT" "${SECOND[@]}" --passfile "$golden/passphrase"
    (cd "$MNT" && python3 -B "$HERE/refdec/list_tree.py" .) | diff "$golden/tree" -
    printf more >>"$MNT/small"
    rm "$MNT/folder/large.png" "$MNT/folder/large.jpg" # the journal tells what their rows were
    "$LETHEFS" sync "$MNT"
    "$LETHEFS" umount "$MNT"
    rm -rf "$WORK/state" "$WORK/cache"
    "$LETHEFS" recover "$VAULT" "${SECOND[@]}" --recovery-file "$golden/recovery" --passfile "$golden/passphrase"
    "$LETHEFS" mount "$VAULT" "$MNT" "${SECOND[@]}" --passfile "$golden/passphrase"
    [ "$(cat "$MNT/folder/hard")" = smallmore ] || fail "what was written after the recovery is not there"
    [ ! -e "$MNT/folder/large.png" ] || fail "what was removed after the recovery is there"
    "$LETHEFS" umount "$MNT"
done
