#!/usr/bin/env bash
# The installed tree serves an outside project through find_package and pkg-config, static and
# shared; the source tree serves one through add_subdirectory.
# Usage: install.sh BUILD_DIR
set -euo pipefail

if [ $# -ne 1 ]; then
    echo "install.sh: usage: install.sh BUILD_DIR" >&2
    exit 2
fi
build=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
source=$(sed -n 's/^CMAKE_HOME_DIRECTORY:[A-Z]*=//p' "$build/CMakeCache.txt")
compiler=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$build/CMakeCache.txt")

cmake --install "$build" --prefix "$work/first" >"$work/log"
# The tree may be moved after it was installed: nothing in it names its place.
mv "$work/first" "$work/prefix"
if grep -rIl "$work/first\|$build" "$work/prefix" --include='*.cmake' --include='*.pc' \
    --include='*.link'; then
    echo "install.sh: these files name the build or install folder" >&2
    exit 1
fi

mkdir "$work/project"
cd "$work/project"
cat >main.c <<'C'
#include <ntheap/heap.h>
#include <stdio.h>
int main(void)
{
    HANDLE heap = HeapCreate(0, 0, 0);
    char *text = HeapAlloc(heap, HEAP_ZERO_MEMORY, 100);
    snprintf(text, 100, "%zu bytes at your service", HeapSize(heap, 0, text));
    puts(text);
    return HeapFree(heap, 0, text) && HeapDestroy(heap) ? 0 : 1;
}
C
cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.25)
project(outside C)
find_package(ntheap 0.1 REQUIRED)
add_executable(by_default main.c)
target_link_libraries(by_default PRIVATE ntheap::ntheap)
add_executable(by_static main.c)
target_link_libraries(by_static PRIVATE ntheap::static)
add_executable(by_shared main.c)
target_link_libraries(by_shared PRIVATE ntheap::shared)
CMAKE
mkdir ../subdirectory
cat >../subdirectory/CMakeLists.txt <<CMAKE
cmake_minimum_required(VERSION 3.25)
project(outside C)
add_subdirectory($source heaprig)
add_executable(by_subdirectory ../project/main.c)
target_link_libraries(by_subdirectory PRIVATE ntheap::ntheap)
CMAKE

count=0
expect() {
    local output
    output=$("$@")
    if [ "$output" != "100 bytes at your service" ]; then
        echo "install.sh: $1 printed '$output'" >&2
        exit 1
    fi
    count=$((count + 1))
}

unset CFLAGS LDFLAGS
for project in project subdirectory; do
    { cmake -G Ninja -S "../$project" -B "../$project/out" -DCMAKE_C_COMPILER="$compiler" \
        -DCMAKE_PREFIX_PATH="$work/prefix" && cmake --build "../$project/out" -j2; } \
        >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        exit 1
    }
done
for program in by_default by_static by_shared; do
    expect "out/$program"
done
expect ../subdirectory/out/by_subdirectory
# A program linked with the static target offers the calls to dlsym under their own names.
nm -D --defined-only out/by_static | grep -q ' T RtlWalkHeap$'

libdir=$(dirname "$(find "$work/prefix" -name ntheap.pc)")
export PKG_CONFIG_PATH=$libdir
read -ra flags < <(pkg-config --cflags --libs ntheap)
"$compiler" main.c -o shared "${flags[@]}"
expect env LD_LIBRARY_PATH="$libdir/.." ./shared
read -ra flags < <(pkg-config --static --cflags --libs ntheap)
"$compiler" main.c -o static -static "${flags[@]}"
expect ./static
[ "$(pkg-config --modversion ntheap)" = "$(sed -n 's/^CMAKE_PROJECT_VERSION:[A-Z]*=//p' \
    "$build/CMakeCache.txt")" ]

expect env LD_PRELOAD="$libdir/../libntheap-malloc.so" out/by_default
echo "$count programs built and run"
