# SPDX-License-Identifier: MIT
# The layers: base <- {seal, nn, entropy, image} <- codec <- {train, fs}, and base <- backends <- fs. A room sees the
# public headers of its own layer's room and of those below, and no private header but its own. Third-party headers
# stay in their adapters. Public headers compile alone. Exceptions stand here, each with its reason.
set -euo pipefail
fail=0
bad() {
    echo "$*" >&2
    fail=1
}

room_of_header() {
    case $1 in
        err.h | bytes.h | log.h | cpu.h | pool.h | check.h) echo base ;;
        seal.h) echo seal ;;
        nn.h) echo nn ;;
        range.h | rans.h | mix.h) echo entropy ;;
        image.h) echo image ;;
        codec.h | model.h | residual.h | weights.h) echo codec ;;
        train.h) echo train ;;
        store.h) echo backends ;;
        *) echo "unknown:$1" ;;
    esac
}

# What a room may see of include/lethe. image stands on entropy: recipes are entropy-coded.
sees() {
    case $1 in
        base) echo base ;;
        seal) echo base seal ;;
        nn) echo base nn ;;
        entropy) echo base entropy ;;
        image) echo base entropy image ;;
        codec) echo base seal nn entropy image codec ;;
        train) echo base nn entropy image codec train ;;
        backends) echo base backends ;;
        fs) echo base seal nn entropy image codec train backends fs ;;
    esac
}

# May $1 (a file) include the private header $2 of another room?
excepted() {
    case "$1 $2" in
        "engine/codec/"*" engine/nn/layers.h") ;; # the codec drives the kernels; nobody else does
        "fs/device/vfs.c engine/seal/primitives.h" | "fs/device/vfs_log.c engine/seal/primitives.h" | \
        "fs/device/vfs_mark.c engine/seal/primitives.h") ;; # one AEAD call for each page
        "fs/device/content_seal.c engine/seal/primitives.h") ;; # one for each block, its tag apart
        *) return 1 ;;
    esac
}

# May $1 include the third-party header $2?
adapter() {
    case "$2" in
        sodium.h)
            case $1 in
                engine/seal/sodium.c) ;;
                engine/codec/pair.c) ;;       # the hash of a model file
                engine/codec/encrypter.c) ;;  # the stream of noise of a tile
                fs/device/content_seal.c) ;;  # blocks with detached tags
                backends/sigv4_sodium.c) ;;   # SHA-256 and HMAC of requests to S3, memory for their secrets
                *) return 1 ;;
            esac
            ;;
        sqlite3.h) [[ $1 == fs/device/* ]] ;;
        png.h) [[ $1 == engine/image/png_libpng.c ]] ;;
        jpeglib.h | jerror.h) [[ $1 == engine/image/jpeg_libjpeg.c ]] ;;
        zstd.h) [[ $1 == fs/vault/frame.c || $1 == fs/vault/sealer.c || $1 == fs/vault/restore.c ]] ;;
        fuse*.h) [[ $1 == fs/mount/fuse_internal.h ]] ;;
        xxhash.h) [[ $1 == engine/base/check.c ]] ;;
        jansson.h) [[ $1 == engine/seal/vault_json.c || $1 == fs/mount/* || $1 == fs/cli/* || $1 == fs/drill/* ]] ;;
        curl/*) [[ $1 == backends/http*.c ]] ;;
        openssl/evp.h) [[ $1 == engine/seal/chacha.c ]] ;;
        zlib.h | openssl/* | lzma.h | brotli/*) return 1 ;;
        *) return 0 ;;
    esac
}

while IFS=$'\t' read -r file kind name; do
    case $file in
        engine/*) room=${file#engine/} room=${room%%/*} ;;
        backends/*) room=backends ;;
        fs/*) room=fs ;;
        include/*) room=$(room_of_header "$(basename "$file")") ;;
    esac
    if [ "$kind" = '<' ]; then
        adapter "$file" "$name" || bad "$file: <$name> belongs to its adapter"
        continue
    fi
    case $name in
        lethe/*)
            target=$(room_of_header "${name#lethe/}")
            [[ " $(sees "$room") " == *" $target "* ]] || bad "$file ($room) must not see $name ($target)"
            ;;
        engine/* | fs/* | backends/*)
            own=$room
            [ "$room" = fs ] || [ "$room" = backends ] || own=engine/$room
            [[ $name == "$own"/* ]] || excepted "$file" "$name" || bad "$file must not see the private $name"
            ;;
        */*) bad "$file: $name is no path from the top" ;;
        *) [ -e "$(dirname "$file")/$name" ] || bad "$file: $name is not beside it" ;;
    esac
done < <(grep -rnoE --include='*.[ch]' '^ *# *include *[<"][^>"]+' engine backends fs include |
    sed -E 's/^([^:]*):[0-9]+: *# *include *([<"])(.*)$/\1\t\2\t\3/')

for header in include/lethe/*.h; do
    ${CC:-cc} -std=c17 -Wall -Wextra -Werror -I include -fsyntax-only -x c "$header" || bad "$header does not compile alone"
done
exit $fail
