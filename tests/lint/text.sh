# SPDX-License-Identifier: MIT
# Every source file begins with its licence, and nothing in the repository speaks of the machine it was written on.
set -euo pipefail
fail=0
list() { # of the repository's files, or of all in a tree that is no checkout
    git ls-files "$@" 2>/dev/null || find "${@:-.}" -name .git -prune -o -name build -prune -o -type f -print
}
while read -r file; do
    case $file in
        *.[ch] | *.S) head -1 "$file" | grep -q '^/\* SPDX-License-Identifier: MIT \*/$' ;;
        *.sh | *.py) head -2 "$file" | grep -q '^# SPDX-License-Identifier: MIT$' ;;
        *) true ;;
    esac || { echo "$file: the first line is not SPDX-License-Identifier: MIT" >&2; fail=1; }
done < <(list engine backends fs include tests | while read -r f; do [ ! -e "$f" ] || echo "$f"; done)
# Written apart, so that this file does not find itself.
words="/wor""k/|/tmp/bui""ld-|sub""agent|sand""box session"
if list | while read -r f; do [ ! -f "$f" ] || echo "$f"; done | tr '\n' '\0' | xargs -0 grep -nIE "$words" --; then
    echo "these lines speak of a machine or a workplace" >&2
    fail=1
fi
exit $fail
