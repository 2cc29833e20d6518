#!/usr/bin/env bash
# Copyright the heaprig authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# The build of a fuzzing service without its image: this machine's compilers, the image's variables.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/oss-fuzz/local.sh [--help] [--sanitizer NAME] [--engine NAME] [--arch NAME] [--clang N] [--no-check]
                           DIR

Runs .clusterfuzzlite/build.sh, and by it ci/oss-fuzz/build.sh, with the variables that a service's image
sets and no others, into DIR/out, and looks at the targets with ci/check-fuzzers.sh.

  --sanitizer NAME  address (default), undefined, memory, coverage or introspector
  --engine NAME     libfuzzer (default); afl: AFL++'s compiler and driver; archive: libFuzzer as an archive
                    in place of a flag; honggfuzz: the counters that honggfuzz wants, and for its
                    archive one that runs files
  --arch NAME       x86_64 (default) or i386
  --clang N         14 (default) or 19; with engine afl 14
  --no-check        build only; coverage and introspector builds are never looked at

Exit status: 0 all is well, 1 the build or the check failed, 2 bad usage.
TEXT
}

die() {
    printf 'local.sh: %s\n' "$2" >&2
    exit "$1"
}

# one_of OPTION VALUE WORD...
one_of() {
    local option=$1 value=$2
    shift 2
    [[ -n $value && " $* " == *" $value "* ]] || die 2 "$option '$value': expected one of $*"
}

sanitizer=address engine=libfuzzer arch=x86_64 clang=14 check=yes dir=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    --sanitizer)
        one_of "$1" "${2-}" address undefined memory coverage introspector
        sanitizer=$2
        shift
        ;;
    --engine)
        one_of "$1" "${2-}" libfuzzer afl archive honggfuzz
        engine=$2
        shift
        ;;
    --arch)
        one_of "$1" "${2-}" x86_64 i386
        arch=$2
        shift
        ;;
    --clang)
        one_of "$1" "${2-}" 14 19
        clang=$2
        shift
        ;;
    --no-check) check=no ;;
    -*) die 2 "unknown option '$1', see --help" ;;
    *) dir=$1 ;;
    esac
    shift
done
[ -n "$dir" ] || die 2 "expected a folder for the build, see --help"

root=$(cd "$(dirname "$0")/../.." && pwd)
parts=(build fuzz services)
if [ "$engine" = afl ]; then
    [ "$clang" = 14 ] || die 2 "--clang $clang: expected 14 with --engine afl, Debian's AFL++ is built for it"
    parts+=(afl)
fi
if [ "$clang" = 19 ]; then
    parts+=(clang19)
fi
"$root/ci/setup.sh" "${parts[@]}"
mkdir -p "$dir"/{src,work,out,tools} || die 2 "$dir: expected a folder that can be written"
dir=$(cd "$dir" && pwd)
ln -sfn "$root" "$dir/src/heaprig"

# ---- What the image sets ----------------------------------------------------------------------------------

ubsan=array-bounds,bool,builtin,enum,integer-divide-by-zero,null,object-size,return
ubsan+=,returns-nonnull-attribute,shift,signed-integer-overflow,unreachable,vla-bound,vptr
counters='-fsanitize=fuzzer-no-link' checks='' linker=''
case $sanitizer in
address) checks='-fsanitize=address -fsanitize-address-use-after-scope' ;;
undefined) checks="-fsanitize=$ubsan,unsigned-integer-overflow -fno-sanitize-recover=$ubsan" ;;
memory) checks='-fsanitize=memory -fsanitize-memory-track-origins' ;;
coverage) counters='-fprofile-instr-generate -fcoverage-mapping -pthread -Wl,--no-as-needed -Wl,-ldl -Wl,-lm -Wno-unused-command-line-argument' ;;
introspector)
    counters='-O0 -flto -fno-inline-functions -fuse-ld=gold -Wno-unused-command-line-argument'
    linker='-fuse-ld=gold -flto'
    for tool in ar nm ranlib; do
        ln -sf "$(command -v "llvm-$tool-$clang")" "$dir/tools/$tool"
    done
    ;;
esac
cc=clang-$clang cxx=clang++-$clang library=-fsanitize=fuzzer
archive=$(compgen -G "/usr/lib/llvm-$clang/lib/clang/$clang*/lib/linux/libclang_rt.fuzzer-x86_64.a")
case $engine in
afl) cc=afl-clang-fast cxx=afl-clang-fast++ library=/usr/lib/afl/libAFLDriver.a counters='' ;;
archive) library=$archive ;;
honggfuzz)
    library=$dir/tools/libFuzzingEngine.a counters='-fsanitize-coverage=trace-pc-guard,indirect-calls,trace-cmp'
    "clang-$clang" -O1 -D_GNU_SOURCE= -c "$root/harness/targets/driver.c" -o "$dir/tools/driver.o"
    "llvm-ar-$clang" rcs "$library" "$dir/tools/driver.o"
    ;;
esac
flags="-O1 -fno-omit-frame-pointer -gline-tables-only -DFUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION $checks $counters"
if [ "$arch" = i386 ]; then
    flags="-m32 $flags"
fi

cd "$dir/work"
env -i PATH="$dir/tools:$PATH" HOME="$dir" AFL_QUIET=1 ${linker:+LDFLAGS="$linker"} SRC="$dir/src" WORK="$dir/work" \
    OUT="$dir/out" SANITIZER="$sanitizer" FUZZING_ENGINE="$engine" ARCHITECTURE="$arch" FUZZING_LANGUAGE=c CC="$cc" \
    CXX="$cxx" CFLAGS="$flags" CXXFLAGS="$flags" LIB_FUZZING_ENGINE="$library" \
    bash -eux "$root/.clusterfuzzlite/build.sh" >"$dir/build.log" 2>&1 || {
    tail -n 20 "$dir/build.log" >&2
    die 1 "the build failed, log in $dir/build.log"
}
if [ "$check" = yes ] && [[ $sanitizer != coverage && $sanitizer != introspector ]]; then
    kind=libfuzzer
    if [ "$engine" = afl ] || [ "$engine" = honggfuzz ]; then
        kind=other
    fi
    "$root/ci/check-fuzzers.sh" --sanitizer "$sanitizer" --engine "$kind" --arch "$arch" --hide "$dir/src" \
        --hide "$dir/work" --hide "$root" "$dir/out"
fi
