#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The figures of lethefs-theory(7) and lethefs-threats(7): tests/bench/drill.sh BUILD [HELD KNOWN [MANY]]
#
# HELD: a folder of photographs that nobody knows (25 will do), KNOWN: of those that the thief knows, which are also put
# into a vault of their own for what sizes tell; MANY (yes): that, too. Without folders both are drawn: 32 and 1,000.
# Prints the thieves at every strength, the artifacts stored in each fidelity, and what the drill took.
set -euo pipefail
BUILD=$(realpath "$1")
HELD=${2:-} KNOWN=${3:-} MANY=${4:-}
WORK=$(mktemp -d "${TMPDIR:-/tmp}/lethefs-figures.XXXXXX")
MNT=$WORK/mnt
PATH=$BUILD:$PATH
export XDG_STATE_HOME=$WORK/state XDG_CACHE_HOME=$WORK/cache
mkdir "$MNT"
echo secret >"$WORK/pass"
finish() {
    mountpoint -q "$MNT" && lethefs umount "$MNT"
    rm -rf "$WORK"
}
trap finish EXIT
if [ -z "$HELD" ]; then
    HELD=$WORK/held KNOWN=$WORK/known
    mkdir "$HELD" "$KNOWN"
    lethe-samples "$HELD" 2 32
    lethe-samples "$KNOWN" 1 1000
fi

fill() { # NAME FOLDER [INIT-OPTION]...: a vault of the folder's files (1,000 at most), at the usual costs
    local name=$1 folder=$2
    shift 2
    lethefs init "$WORK/$name" --passfile "$WORK/pass" --recovery-file "$WORK/$name.phrase" "$@" >&2
    lethefs mount "$WORK/$name" "$MNT" --passfile "$WORK/pass"
    find "$folder" -maxdepth 1 -type f | sort | head -1000 | xargs cp -t "$MNT"
    lethefs sync "$MNT" 2>/dev/null
    lethefs umount "$MNT" --wait 2>/dev/null
}
steal() { # NAME [OPTION]...: its report, with what it took
    local name=$1
    shift
    TIMEFORMAT='%R %U %S'
    { time lethefs drill "$WORK/$name" --json --leak model --passfile "$WORK/pass" "$@" >"$WORK/$name.json"; } \
        2>"$WORK/$name.time" || { cat "$WORK/$name.time"; exit 1; }
}

fill exact "$HELD"
steal exact --pairs "$KNOWN" --mutations 0
mkdir "$WORK/few" # of these vaults only what is stored counts: no need to fit thieves to a thousand photos once more
find "$KNOWN" -maxdepth 1 -type f | sort | head -2 | xargs cp -t "$WORK/few"
for strength in 0 1 2 3; do
    fill split-$strength "$HELD" --fidelity split --residuals "$WORK/second-$strength" --strength $strength
    steal split-$strength --pairs "$WORK/few" --mutations 0
done
fill lossy "$HELD" --fidelity lossy
steal lossy --originals "$HELD" --mutations 0
[ -z "$MANY" ] || { fill many "$KNOWN"; steal many; }

python3 - "$WORK" <<'END'
import glob, json, os, sys
reports = {os.path.basename(p)[:-5]: json.load(open(p)) for p in glob.glob(sys.argv[1] + "/*.json")}
leaked = reports["exact"]["keys_leaked"]
print(f"thieves: {leaked['tests']} photos held out, {leaked['known']} known, found among {leaked['gallery']}")
rows = {}
for t in leaked["thieves"]:
    rows.setdefault((t["thief"], t["known"]), {})[t["strength"]] = t
for (thief, known), cells in rows.items():
    print(f"{thief + ', ' + str(known) + ' known':58}", *(f"{c['psnr']:5.1f} dB {100 * c['rank1']:3.0f} % SSIM {c['ssim']:.2f}  " for c in cells.values()))
for b in leaked["bits"]:
    print(f"strength {b['strength']}: artifact {b['artifact_bpp']:.3f} bits a pixel, residual {b['residual_bpp']:.2f}; of the residuals with grey in its place {b['residual_alone_refused']} refused, others {b['residual_alone_psnr']} dB")
print("\nstored artifacts alone, with the pair, against the photos")
for name in sorted(reports):
    if name != "many":
        stored = reports[name]["keys_leaked"]["stored_artifacts"]
        size = reports[name]["inventory"]["artifacts"]["bytes"]
        print(f"{name:10} {stored['psnr']['value']:.1f} dB [{stored['psnr']['low']:.1f}, {stored['psnr']['high']:.1f}] of {stored['photos']}, {size} bytes of artifacts in the vault")
for t in reports["lossy"]["keys_leaked"]["thieves"]:
    if t["strength"] == 0 and t["thief"] in ("the vault's own pair", "least squares"):
        print(f"lossy, {t['thief']}, {t['known']} known: {t['psnr']:.1f} dB from the original, {t['psnr_to_lossy']:.1f} dB from the lossy picture")
print()
for name, report in sorted(reports.items()):
    took = open(f"{sys.argv[1]}/{name}.time").read().split()[-3:]
    print(f"{name:10} {report['inventory']['objects']} objects, weaknesses {[w['name'] for w in report['weaknesses']]}, wall {took[0]} s, CPU {float(took[1]) + float(took[2]):.0f} s")
    for s in report["sizes"]:
        r, a = s["rank1"], s["auc"]
        print(f"    {s['seen']:40} rank 1 {100 * r['value']:.1f} % [{100 * r['low']:.1f}, {100 * r['high']:.1f}], AUC {a['value']:.3f}, of {s['photos']}")
if "many" in reports:
    many = reports["many"]
    a = many["inventory"]["artifacts"]
    print(f"many: {a['count']} artifacts of {a['distinct_sizes']} sizes, {a['alone']} alone with theirs")
    for kind in ("artifacts", "others"):
        for x, group in (("", many["statistics"][kind]), (", xored", many["statistics"][kind]["xored"])):
            print(f"    {kind}{x}: {group['objects']} objects;", *(f"{d['score']} {d['auc']:.3f} [{d['low']:.3f}, {d['high']:.3f}]" for d in group["distinguishers"]))
    t = many["tampering"]
    print(f"    tampering: {t['changes']} changes, {t['detected']} detected, {t['without_effect']} without effect, {t['undetected']} undetected")
END
