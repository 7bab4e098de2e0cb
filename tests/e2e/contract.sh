# SPDX-License-Identifier: MIT
# The command line is a contract: exit codes, one line of error, one JSON object and nothing else, locations in every
# spelling, secrets from everywhere, fstab.
. "$(dirname "$0")/lib.sh"
cd "$WORK"
VAULT="$WORK/my vault"
SPACED="$WORK/m nt"
mkdir "$SPACED"
leave() { # as finish, with the mount that it does not know
    local code=$?
    "$LETHEFS" umount "$SPACED" 2>/dev/null || true
    return $code
}
trap 'leave || finish; finish' EXIT
PATH=$BUILD:$PATH

refuse() { # CODE COMMAND...: that exit code, nothing on standard output, one line of error that names lethefs
    local want=$1
    shift
    expect "$want" "$@"
    [ "$(wc -l <"$WORK/err")" = 1 ] || fail "'$*' gave more than a line: $(cat "$WORK/err")"
    grep -q '^lethefs: .' "$WORK/err" || fail "'$*': $(cat "$WORK/err")"
    [ ! -s "$WORK/out" ] || fail "'$*' failed, but printed: $(head -3 "$WORK/out")"
}

object() { # COMMAND...: prints one JSON object, quietly
    expect 0 "$@"
    [ ! -s "$WORK/err" ] || fail "'$*' complains: $(cat "$WORK/err")"
    python3 -c 'import json,sys; assert isinstance(json.load(sys.stdin), dict)' <"$WORK/out" ||
        fail "'$*' did not print one object"
}

field() { # NAME: of the last object
    python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1" <"$WORK/out"
}

# --- init: what is refused leaves nothing
I=(lethefs init "$VAULT" --recovery-file rec --kdf-mem 16)
: >empty
for bad in "--strength 4" "--strength -1" "--strength 1.5" "--strength" "--kdf-mem 1" "--kdf-mem 9999999" "--pairs x" \
    "--fidelity none" "--bogus" "second-argument"; do
    refuse 2 "${I[@]}" --passfile pass $bad
done
refuse 2 lethefs
refuse 2 lethefs init
refuse 2 "${I[@]}" --passfile absent
refuse 2 "${I[@]}" --passfile empty
refuse 2 "${I[@]}" --passfile .
refuse 2 "${I[@]}"
refuse 2 "${I[@]}" --extpass false
refuse 2 "${I[@]}" --extpass true
refuse 2 "${I[@]}" --extpass 'echo x' --passfile pass
refuse 2 lethefs init "$VAULT" --passfile pass
refuse 2 lethefs init "" --passfile pass --recovery-file rec
refuse 1 lethefs init ftp://host/x --passfile pass --recovery-file rec
refuse 1 lethefs init empty --passfile pass --recovery-file rec
refuse 1 lethefs init empty/below --passfile pass --recovery-file rec
[ ! -e "$VAULT" ] && [ ! -e state ] && [ ! -e rec ] || fail "a refused init left something: $(ls)"
# the phrase: never over another one, never instead of a device
lethefs init other --passfile pass --recovery-file rec --kdf-mem 16
cp rec rec-other
lethefs init third --passfile pass --recovery-file /dev/stdout --kdf-mem 16 | cat >piped
grep -qE '^([0-9A-Z]{4}-)+[0-9A-Z]{4}$' piped || fail "the phrase was not written to a pipe"
[ -c /dev/full ] && refuse 1 lethefs init fourth --passfile pass --recovery-file /dev/full --kdf-mem 16
[ -c /dev/full ] || fail "init replaced a device"
"${I[@]}" --passfile pass
refuse 2 "${I[@]}" --passfile pass --recovery-file "$VAULT/rec" # the vault would hold its own phrase
refuse 2 lethefs init new --passfile pass --recovery-file rec --fidelity split --residuals ./new/below
refuse 2 lethefs init new/below --passfile pass --recovery-file rec --fidelity split --residuals "$WORK/new"
refuse 2 lethefs init new --passfile pass --recovery-file rec --state-dir new/state
refuse 2 lethefs init . --passfile pass --recovery-file rec # among other files
[ ! -e new ] || [ -z "$(find new -type f)" ] || fail "a refused init left files: $(find new)"
cmp rec.before-* rec-other || fail "another vault's phrase was overwritten"
for n in 1 2 3; do # within a second
    lethefs init crowd-$n --passfile pass --recovery-file crowd --kdf-mem 16 >/dev/null
done
[ "$(ls crowd.before-* | wc -l)" = 2 ] || fail "a phrase is missing: $(ls crowd*)"
[ "$(stat -c %a rec)" = 400 ] || fail "others may read the recovery phrase"
refuse 1 "${I[@]}" --passfile pass
[ -z "$(find state "$VAULT" -perm /077)" ] || fail "others may look into: $(find state "$VAULT" -perm /077 | head -3)"

# --- mount: locations, options, moments
P=(--passfile pass)
refuse 2 lethefs mount "$VAULT"
refuse 2 lethefs mount "$VAULT" "$SPACED"
for bad in "-o bogus" "-o sync=never" "-o degraded" "--cache-size 12Q" "--at yesterdayish" "--epoch -3" \
    "--epoch 0" "--effort huge"; do
    refuse 2 lethefs mount "$VAULT" "$SPACED" "${P[@]}" $bad
done
refuse 3 lethefs mount "$VAULT" "$SPACED" --extpass "echo wrong"
refuse 5 lethefs mount "$WORK/nowhere" "$SPACED" "${P[@]}"
refuse 5 lethefs mount "$MNT" "$SPACED" "${P[@]}"
refuse 1 lethefs mount "$VAULT" pass "${P[@]}"
refuse 2 lethefs mount "$VAULT" "$VAULT" "${P[@]}" # it would hide its own vault
refuse 2 lethefs mount "file://$VAULT" "$WORK" "${P[@]}"
refuse 2 lethefs mount "$VAULT" "$VAULT/o" "${P[@]}"
refuse 2 lethefs mount "$VAULT" "$SPACED" "${P[@]}" --cache-dir "$VAULT/tmp"
mkdir taken && touch taken/file
refuse 2 lethefs mount "$VAULT" taken "${P[@]}"
lethefs mount "$VAULT" taken "${P[@]}" -o nonempty
[ ! -e taken/file ] || fail "the mount does not show the vault"
lethefs umount taken
[ -e taken/file ] || fail "what the mount hid is gone"
for way in "my vault" "./my vault" "$VAULT" "$VAULT/" "file://$VAULT"; do
    lethefs mount "$way" "m nt" --extpass "cat pass" --epoch 1h
    echo "$way" >"m nt/way"
    fusermount3 -u "m nt" # and at once again: the daemon may still be leaving
done
lethefs mount "$VAULT" "m nt" "${P[@]}" -o "ro,strictatime"
read_before=$(stat -c %x "m nt/way")
[ "$(cat "m nt/way")" = "file://$VAULT" ] || fail "the last way in is not there"
! touch "m nt/way" 2>/dev/null || fail "-o ro writes"
[ "$(stat -c %x "m nt/way")" = "$read_before" ] || fail "-o ro changes access times"
lethefs umount "m nt/"
lethefs mount "$VAULT" "$SPACED" "${P[@]}" --cache-dir relative-cache --epoch 1h
[ -d relative-cache ] || fail "--cache-dir is not used"

# --- of a live mount
echo news >"m nt/news"
object lethefs status "m nt" --json
python3 -c 'import json,sys; p=json.load(sys.stdin)["pending"]; assert p["files"] == 2 and p["changes"] > 0' \
    <"$WORK/out" || fail "what was just written is not pending: $(cat "$WORK/out")"
pid=$(field pid)
! tr '\0' '\n' <"/proc/$pid/environ" | grep -q horse || fail "the passphrase stands in the environment"
! grep -q horse "/proc/$pid/cmdline" || fail "the passphrase stands in the command line"
grep -q 'Max core file size *0 *0' "/proc/$pid/limits" || fail "the daemon dumps core"
[ "$(readlink "/proc/$pid/cwd")" = / ] || fail "the daemon keeps a folder busy"
[ "$(stat -c %a "$(field state_dir)/control")" = 600 ] || fail "others may talk to the daemon"
refuse 6 lethefs mount "$VAULT" "$MNT" "${P[@]}"
refuse 6 lethefs recover "$VAULT" "${P[@]}" --recovery-file rec
object lethefs status "m nt/news" --json
object lethefs status "$VAULT" --json
object lethefs inspect "m nt/news" --json
refuse 2 lethefs inspect "m nt/absent" --json
refuse 2 lethefs inspect "m nt"
refuse 2 lethefs inspect pass
refuse 2 lethefs sync pass
expect 0 lethefs sync "m nt/news"
[ ! -s "$WORK/err" ] || fail "sync speaks without a terminal: $(cat "$WORK/err")"
[ "$(getfattr --only-values -n user.lethefs.state "m nt/news")" = vaulted ] || fail "sync did not bring it to the vault"
exec 8<"m nt/news"
refuse 6 lethefs umount "m nt"
exec 8<&-
# the vault goes away and comes back
mv "$VAULT" away
echo "written meanwhile" >"m nt/meanwhile"
refuse 5 lethefs sync "m nt" --timeout 1s
[ "$(cat "m nt/meanwhile" "m nt/news")" = "written meanwhile
news" ] || fail "what is on the device cannot be read without the vault"
mv away "$VAULT"
lethefs sync "m nt"
refuse 1 lethefs umount "m nt/news"
lethefs umount "m nt"
refuse 1 lethefs umount "m nt"
refuse 1 lethefs umount nowhere
# in the foreground, ended by a signal
for signal in TERM INT; do
    # (an interactive shell's children heed SIGINT, a script's background jobs do not)
    python3 -c 'import os,signal,sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' lethefs mount "$VAULT" "$SPACED" "${P[@]}" -f &
    front=$!
    while ! mounted "${SPACED// /\\\\040}"; do sleep 0.05; done
    echo $signal >"m nt/$signal"
    kill -$signal $front
    wait $front || fail "SIG$signal in the foreground: $?"
done

# --- outputs: nothing that is named twice is overwritten, a link is followed, a device stays one
mkdir samples
"$BUILD/lethe-samples" samples "$SEED"
photo=samples/sprite-1.png
cp "$photo" photo.png
refuse 2 lethefs encrypt photo.png ./photo.png residual
refuse 2 lethefs encrypt photo.png same "$WORK/same"
ln -s target.png artifact.png && touch target.png
lethefs encrypt photo.png artifact.png residual 2>/dev/null
[ -L artifact.png ] && [ -s target.png ] || fail "the link was replaced, not its target"
refuse 2 lethefs decrypt artifact.png residual target.png
lethefs decrypt artifact.png residual /dev/stdout | cmp - "$photo"
mkfifo pipe
lethefs decrypt artifact.png residual pipe &
cmp pipe "$photo"
wait $!
[ -p pipe ] || fail "an output replaced a pipe"
cmp photo.png "$photo" || fail "an input was overwritten"
refuse 1 lethefs encrypt pass artifact.png residual

# --- keys
lethefs mount "$VAULT" "$SPACED" "${P[@]}"
[ "$(cat "m nt/TERM" "m nt/INT")" = "TERM
INT" ] || fail "a signal lost a file"
echo second >pass2
refuse 3 lethefs passwd "$VAULT" --extpass "echo no" --new-passfile pass2
lethefs passwd "$VAULT" "${P[@]}" --new-passfile pass2
refuse 3 lethefs key list "$VAULT" "${P[@]}"
lethefs umount "$SPACED"
refuse 3 lethefs mount "$VAULT" "$SPACED" "${P[@]}"
echo third >pass3
lethefs key add "$VAULT" --passfile pass2 --new-passfile pass3 --label spare >slot
object lethefs key list "$VAULT" --passfile pass3 --json
[ "$(grep -c '"id"' "$WORK/out")" = 2 ] || fail "there are not two slots"
refuse 2 lethefs key remove "$VAULT" zzz --passfile pass3
refuse 2 lethefs key remove "$VAULT" "$(cat slot)" --passfile pass3
lethefs key remove "$VAULT" "$(cat slot)" --passfile pass2
refuse 3 lethefs key list "$VAULT" --passfile pass3
P=(--passfile pass2)
# --- the rest
object lethefs model list "$VAULT" "${P[@]}" --json
object lethefs check "$VAULT" "${P[@]}" --json
object lethefs check "$VAULT" "${P[@]}" --json --deep
object lethefs gc "$VAULT" "${P[@]}" --json --keep 0s
object lethefs check "$VAULT" "${P[@]}" --json # what gc took is not missed
object lethefs status "$VAULT" "${P[@]}" --json
refuse 2 lethefs gc "$VAULT" "${P[@]}" --keep soon
refuse 2 lethefs drill-down "$VAULT"
for command in init mount umount sync status inspect check gc passwd recover key model train encrypt decrypt; do
    expect 0 lethefs $command --help
    [ -s "$WORK/out" ] || fail "$command --help is empty"
    refuse 2 lethefs $command --no-such-option
done

# --- a new device, whose owner types in small letters
export XDG_STATE_HOME=$WORK/new-state XDG_CACHE_HOME=$WORK/new-cache
refuse 3 lethefs mount "$VAULT" "$SPACED" "${P[@]}"
refuse 3 lethefs recover "$VAULT" "${P[@]}" --recovery-file rec-other
refuse 3 lethefs recover "$VAULT" --passfile pass --recovery-file rec
tr 'A-Z' 'a-z' <rec | tr -d - >typed
lethefs recover "$VAULT" "${P[@]}" --recovery-file typed
lethefs mount "$VAULT" "$SPACED" "${P[@]}"
[ "$(cat "m nt/meanwhile")" = "written meanwhile" ] || fail "the new device misses a file"
lethefs umount "$SPACED"
# --- as mount(8) runs it for a line in fstab
mkdir mnt5
lethefs "$VAULT" mnt5 -o "rw,relatime,nodiratime,noauto,nofail,user=x,x-systemd.automount,passfile=$WORK/pass2,epoch=2s"
[ -e mnt5/meanwhile ] || fail "without a command, nothing is mounted"
lethefs umount mnt5
if [ "$(id -u)" = 0 ] && command -v mount.fuse3 >/dev/null; then
    ln -s "$VAULT" vault-link
    PATH=$BUILD:$PATH mount -t fuse.lethefs "$WORK/vault-link" "$WORK/mnt5" -o "ro,passfile=$WORK/pass2" 2>"$WORK/err" ||
        grep -q 'not found' "$WORK/err" || fail "mount -t fuse.lethefs: $(cat "$WORK/err")"
    ! mounted "$WORK/mnt5" || lethefs umount mnt5
fi
