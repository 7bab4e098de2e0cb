#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# run.sh ARCH FOLDER: the engine's tests on another processor, emulated: arm64 (its NEON kernels) or s390x (big-endian).
# Needs root once, for Debian's packages: the cross compiler, qemu-user-static, and the libraries of that architecture,
# which are unpacked in FOLDER and not installed. What passes has decoded the golden files to the bytes that every other
# processor gives. Not part of the quick tests: emulation takes minutes.
set -euo pipefail

ROOT=$(cd "$(dirname "$0")/../.." && pwd)
usage() {
    echo "usage: tests/cross/run.sh arm64|s390x FOLDER" >&2
    exit 2
}
[ $# = 2 ] || usage
case $1 in
    arm64) TRIPLET=aarch64-linux-gnu PROCESSOR=aarch64 ;;
    s390x) TRIPLET=s390x-linux-gnu PROCESSOR=s390x ;;
    *) usage ;;
esac
ARCH=$1
mkdir -p "$2"
AT=$(cd "$2" && pwd)
SYS=$AT/$ARCH
LIBRARIES="libpng-dev libpng16-16 libjpeg62-turbo-dev libjpeg62-turbo libsodium-dev libsodium23 libsqlite3-dev
    libsqlite3-0 libzstd-dev libzstd1 libxxhash-dev libxxhash0 libjansson-dev libjansson4 libcmocka-dev libcmocka0
    libfuse3-dev libfuse3-3 libcurl4-openssl-dev libcurl4 zlib1g-dev zlib1g"
TESTS="${TESTS:-test_kernels test_range test_latents test_pair test_photo_planes test_residual_coefs test_residual_samples
    test_png test_jpeg test_photo test_deflate test_seal test_seal_golden test_golden}"

if [ ! -d "$SYS" ]; then
    KNOWN=$(dpkg --print-foreign-architectures)
    apt-get install -y -qq --no-install-recommends "gcc-$TRIPLET" "libc6-dev-$ARCH-cross" qemu-user-static >/dev/null
    mkdir -p "$SYS.new/debs"
    dpkg --add-architecture "$ARCH"
    apt-get update -qq
    (cd "$SYS.new/debs" && for name in $LIBRARIES; do apt-get download -qq "$name:$ARCH"; done)
    grep -qx "$ARCH" <<<"$KNOWN" || {
        dpkg --remove-architecture "$ARCH"
        apt-get update -qq
    }
    for package in "$SYS.new"/debs/*.deb; do
        dpkg -x "$package" "$SYS.new"
    done
    mv "$SYS.new" "$SYS"
fi
export PKG_CONFIG_LIBDIR=$SYS/usr/lib/$TRIPLET/pkgconfig:$SYS/usr/share/pkgconfig PKG_CONFIG_SYSROOT_DIR=$SYS
# The libraries' own dependencies are not unpacked: the engine needs none of them.
cmake -S "$ROOT" -B "$AT/build-$ARCH" -G Ninja -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR="$PROCESSOR" \
    -DCMAKE_C_COMPILER="$TRIPLET-gcc" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DLETHE_WERROR=ON \
    -DCMAKE_C_FLAGS="-isystem $SYS/usr/include/$TRIPLET" \
    -DCMAKE_EXE_LINKER_FLAGS="-Wl,--as-needed,--unresolved-symbols=ignore-in-shared-libs -L$SYS/usr/lib/$TRIPLET" >/dev/null
# shellcheck disable=SC2086
cmake --build "$AT/build-$ARCH" --target $TESTS >"$AT/build-$ARCH.log" 2>&1 || {
    grep -E 'error|FAILED|undefined' "$AT/build-$ARCH.log" >&2
    exit 1
}
cd "$ROOT"
FAILED=0
for name in $TESTS; do
    if QEMU_LD_PREFIX=/usr/$TRIPLET "qemu-$PROCESSOR-static" -E LD_LIBRARY_PATH="$SYS/usr/lib/$TRIPLET:$SYS/lib/$TRIPLET:/usr/$TRIPLET/lib" \
        "$AT/build-$ARCH/tests/$name" >"$AT/$name-$ARCH.log" 2>&1; then
        echo "$ARCH $name: passed"
    else
        echo "$ARCH $name: FAILED, see $AT/$name-$ARCH.log"
        FAILED=1
    fi
done
exit $FAILED
