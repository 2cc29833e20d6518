#!/usr/bin/env bash
# The rig compiles for Windows, where the subject is the system's own heap. usage: mingw.sh BIN SOURCE
set -euo pipefail

source=$2
compiler=x86_64-w64-mingw32-gcc-posix
command -v $compiler >/dev/null || {
    echo "mingw.sh: $compiler is missing: ci/setup.sh mingw installs it" >&2
    exit 1
}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/include" "$work/include/bsd" "$work/include/bsd/sys"
# Headers without a library behind them; none of the system's other headers may be found.
cp /usr/include/uthash.h "$work/include/"
cp /usr/include/bsd/sys/tree.h "$work/include/bsd/sys/"
touch "$work/include/bsd/sys/cdefs.h"

cd "$source/harness"
count=0
for file in program/*.c model/*.c rules/*.c run/*.c subjects/*.c; do
    $compiler -std=c17 -O1 -D__USE_MINGW_ANSI_STDIO=1 -Wall -Wextra -Wno-format -Wno-format-extra-args -Werror -Iinclude -I. -I.. -isystem "$work/include" \
        -c "$file" -o "$work/object.o"
    count=$((count + 1))
done
echo "$count files compile"
