# SPDX-License-Identifier: MIT
# Man pages are mdoc without warnings; what they name of ours is there: pages, and tests as FILE or FILE:FUNCTION.
set -euo pipefail
fail=0
bad() {
    echo "$*" >&2
    fail=1
}
shopt -s nullglob
pages=(man/*.[1578])
[ ${#pages[@]} -gt 0 ] || bad "no man pages"
while read -r name section; do
    [ -e "man/$name.$section" ] || bad "man/$name.$section is named, but is not there"
done < <(sed -nE 's/^\.Xr (lethefs[a-z-]*) ([0-9]).*/\1 \2/p' "${pages[@]}" | sort -u)
while IFS=: read -r file function; do
    [ -e "$file" ] || bad "$file is named, but is not there"
    [ -z "$function" ] || grep -qw "$function" "$file" || bad "$file has no $function"
done < <(grep -ohE 'tests/[a-z0-9_/]+\.(c|sh|py)(:[a-z0-9_]+)?' "${pages[@]}" README.md HACKING.md SECURITY.md | sort -u)
# Every claim of the threats page names a check of the drill, by a key of its report, or says why there is none.
while read -r claim; do
    bad "man/lethefs-threats.7: $claim names no drill"
done < <(awk '/^\.It [A-H\\]/ {if (name && !ok) print name; name = $2; ok = 0}
              /^\.El/ {if (name && !ok) print name; name = ""}
              /^drill: / || /[Nn]o drill/ || /No claim/ {ok = 1}' man/lethefs-threats.7)
grep -qi 'not yet tested' man/lethefs-threats.7 && bad "man/lethefs-threats.7: a claim is not yet tested"
while read -r key; do
    grep -rq "\"$key\"" fs/drill || bad "man/lethefs-threats.7: the drill's report has no $key"
done < <(sed -nE 's/\([^)]*\)?//g; s/\([^)]*$//; s/^drill: //p' man/lethefs-threats.7 | tr -d ' ' | tr ',' '\n' | sort -u)
[ $fail = 0 ] || exit 1
command -v mandoc >/dev/null || exit 77
mandoc -Tlint -Wwarning "${pages[@]}"
