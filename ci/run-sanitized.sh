#!/usr/bin/env bash
# Start a program built with MSan or TSan, on kernels that randomise more of an address than their
# older run-time libraries can bear.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/run-sanitized.sh [--help] PROGRAM [ARGUMENT...]

Runs PROGRAM: with addresses that are not randomised (setarch -R) where vm.mmap_rnd_bits is over 28,
as it is elsewhere. Exit status: that of PROGRAM; 2 without one, or where the kernel needs setarch
and refuses it. HEAPRIG_RND_BITS names another file than /proc/sys/vm/mmap_rnd_bits.
TEXT
}

die() {
    printf 'run-sanitized.sh: %s\n' "$1" >&2
    exit 2
}

case ${1-} in
-h | --help)
    usage
    exit 0
    ;;
'') die "expected a program, see --help" ;;
esac

bits=0
file=${HEAPRIG_RND_BITS-/proc/sys/vm/mmap_rnd_bits}
if [ -r "$file" ]; then
    read -r bits <"$file"
fi
if [ "$bits" -gt 28 ]; then
    setarch -R true 2>/dev/null ||
        die "vm.mmap_rnd_bits is $bits and setarch -R is refused: as root, sysctl vm.mmap_rnd_bits=28"
    exec setarch -R "$@"
fi
exec "$@"
