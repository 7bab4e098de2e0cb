# SPDX-License-Identifier: MIT
# The constants that lethefs-format(5) quotes are those of the code: both change in one commit.
set -euo pipefail
page=man/lethefs-format.5
fail=0
while read -r file name value; do
    found=$(sed -nE "s|^#define $name ([^ /]+).*|\1|p" "$file")
    if [ "$found" != "$value" ]; then
        echo "$page says $name $value, $file says '$found': change the text of the page too" >&2
        fail=1
    fi
done < <(sed -nE 's/^\.\\" const (.*)$/\1/p' "$page")
exit $fail
