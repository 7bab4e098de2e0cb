# Shell functions that packaging/try and packaging/test share. Sourced, not run.

die() {
    echo "$(basename "$0"): $*" >&2
    exit 1
}

# Runs a command with root's rights.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Names of the packages of the given kinds ("build", "test") that are not installed. Alternatives stand as "a|b".
missing_packages() {
    local kind name choice found
    while read -r kind name; do
        case " $* " in *" $kind "*) ;; *) continue ;; esac
        found=
        for choice in ${name//|/ }; do
            if dpkg-query -W -f='${Status}' "$choice" 2>/dev/null | grep -q 'ok installed'; then
                found=yes
            fi
        done
        [ -n "$found" ] || echo "$name"
    done < <(grep -v '^#' "$ROOT/packaging/packages")
}

# Installs what is missing, or says plainly that it cannot.
install_packages() {
    command -v dpkg-query >/dev/null || die "this is no Debian or Ubuntu: install the packages named in packaging/packages"
    MISSING=$(missing_packages "$@" | tr '\n' ' ')
    [ -n "${MISSING// /}" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null ||
            die "not root and no sudo: install these packages by hand, then run again: $MISSING"
        sudo true || die "sudo gives no rights here: install these packages by hand, then run again: $MISSING"
    fi
    echo "installing: $MISSING"
    as_root apt-get update -qq || die "the package lists cannot be fetched: is there a network?"
    local wanted=() name choice
    for name in $MISSING; do
        for choice in ${name//|/ }; do
            if apt-cache show "$choice" >/dev/null 2>&1; then
                wanted+=("$choice")
                break
            fi
        done
    done
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" \
        >/dev/null || die "these packages could not be installed: ${wanted[*]}"
    MISSING=$(missing_packages "$@" | tr '\n' ' ')
    [ -z "${MISSING// /}" ] || die "still missing: $MISSING"
}

# Installs those that a test does without where they are missing.
install_extras() {
    local name
    for name in $(missing_packages extra); do
        apt-cache show "$name" >/dev/null 2>&1 &&
            as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$name" >/dev/null ||
            echo "without $name: what needs it is not tested"
    done
}

# Mounting needs /dev/fuse, readable and writable by whoever mounts.
need_fuse() {
    [ -e /dev/fuse ] || as_root modprobe fuse 2>/dev/null || true
    [ -e /dev/fuse ] || die "/dev/fuse is missing: load the kernel's fuse module (in a container: pass the device in)"
    if [ ! -r /dev/fuse ] || [ ! -w /dev/fuse ]; then
        die "no permission for /dev/fuse: run as root, or as a member of the group that owns it"
    fi
}

# The folder that all is built in.
need_build_folder() {
    mkdir -p "$ROOT/build" 2>/dev/null && [ -w "$ROOT/build" ] ||
        die "no permission to write to $ROOT/build: use a checkout of your own"
}

# build FOLDER TARGET [CMAKE OPTION]...
build() {
    local folder=$1 target=$2
    shift 2
    cmake -S "$ROOT" -B "$folder" -G Ninja "$@" >"$folder.log" 2>&1 || {
        cat "$folder.log" >&2
        die "cmake failed"
    }
    cmake --build "$folder" --target "$target" >"$folder.log" 2>&1 || {
        grep -E "error|warning|FAILED" "$folder.log" >&2 || tail -30 "$folder.log" >&2
        die "the build failed; all of it is in $folder.log"
    }
}
