#!/usr/bin/env bash
# ci/check-fuzzers.sh with targets made for it: one that is well, and for each check some that it must refuse.
# usage: check_fuzzers_sh.sh BIN SOURCE
set -euo pipefail

source=$2
"$source/ci/setup.sh" build fuzz services
if ! { unshare --mount --propagation private true || unshare --map-root-user --mount --propagation private true; } 2>/dev/null; then
    echo "left out: the build check wants mount namespaces, which this machine does not give"
    exit 0
fi

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/out" "$dir/seeds" "$dir/beside"

fail() {
    printf 'check_fuzzers_sh.sh: %s\n' "$1" >&2
    cat "$dir/said" >&2
    exit 1
}

# ---- A library of forty functions, and what its targets come with --------------------------------------

for ((idx = 0; idx < 40; idx++)); do
    cat <<TEXT
int nth_f$idx(const unsigned char *bytes, unsigned len, int *sums);
__attribute__((noinline)) int nth_f$idx(const unsigned char *bytes, unsigned len, int *sums)
{
    if (len > $idx && bytes[$idx] == 'a') {
        sums[bytes[$idx] & 7] += $idx;
        return 1;
    }
    return len > $((idx + 1)) && bytes[$((idx + 1))] > 'b' ? sums[$((idx % 8))] : 0;
}
TEXT
done >"$dir/library.c"
{
    echo '#define _GNU_SOURCE'
    echo '#include <fcntl.h>'
    echo '#include <stdio.h>'
    echo '#include <stdlib.h>'
    echo '#include <string.h>'
    echo '#include <unistd.h>'
    for ((idx = 0; idx < 40; idx++)); do
        echo "int nth_f$idx(const unsigned char *, unsigned, int *);"
    done
    cat <<'TEXT'
int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len);
int LLVMFuzzerTestOneInput(const unsigned char *bytes, size_t len)
{
    int sums[8] = {0};
    BODY;
TEXT
    for ((idx = 0; idx < 40; idx++)); do
        echo "    (void)nth_f$idx(bytes, (unsigned)len, sums);"
    done
    echo '    return 0;'
    echo '}'
    echo 'MAIN'
} >"$dir/target.c"
head -c 60 /dev/zero | tr '\0' a >"$dir/seeds/all-a"
head -c 60 /dev/zero | tr '\0' c >"$dir/seeds/all-c"
(cd "$dir/seeds" && cmake -E tar cf ../seeds.zip --format=zip all-a all-c)

cc=(clang-14 -O1 -gline-tables-only)
asan=(-fsanitize=address -fsanitize=fuzzer-no-link)
"${cc[@]}" "${asan[@]}" -c "$dir/library.c" -o "$dir/library.o"
"${cc[@]}" -c "$dir/library.c" -o "$dir/library-bare.o"
"${cc[@]}" -fsanitize=fuzzer-no-link -c "$dir/library.c" -o "$dir/library-unchecked.o"
"${cc[@]}" -fsanitize=address -c "$dir/library.c" -o "$dir/library-uncounted.o"
"${cc[@]}" -fPIC -c "$dir/library.c" -o "$dir/library-pic.o"
"${cc[@]}" -shared "$dir/library-pic.o" -o "$dir/beside/libaside.so"

# target NAME BODY [LIBRARY [LINK...]]: a target with all that belongs to it.
target() {
    local name=$1 body=$2 library=${3-$dir/library.o}
    shift $(($# > 3 ? 3 : $#))
    local engine=(-fsanitize=fuzzer) main=''
    if [[ $name == ownmain* ]]; then
        engine=() main='int main(void) { return 0; }'
    fi
    "${cc[@]}" "${asan[@]}" -DBODY="$body" -DMAIN="$main" -c "$dir/target.c" -o "$dir/target.o"
    clang++-14 -fsanitize=address -static-libstdc++ "${engine[@]}" "$dir/target.o" "$library" "$@" -o "$dir/out/$name"
    cp "$dir/seeds.zip" "$dir/out/${name}_seed_corpus.zip"
    printf '# words\nword="ab\\x00\\\\"\n"c"\n' >"$dir/out/$name.dict"
    printf '[libfuzzer]\nmax_len = 100\n' >"$dir/out/$name.options"
}

# check STATUS ARGUMENT...
check() {
    local expected=$1 status=0
    shift
    "$source/ci/check-fuzzers.sh" "$@" >"$dir/said" 2>&1 || status=$?
    [ "$status" -eq "$expected" ] || fail "check-fuzzers.sh $*: exit status $status, expected $expected"
}

says() {
    grep -qE -e "$1" "$dir/said" || fail "expected a line like '$1'"
}

# ---- One that is well -------------------------------------------------------------------------------------

target good_fuzzer ''
check 0 "$dir/out"
says '^good_fuzzer  *40 of 40 functions with address, [0-9]+ counters, 2 seeds, [0-9]+ edges, 3 x 100$'
[ "$(wc -l <"$dir/said")" -eq 1 ] || fail "expected one line"

# The same, taken for something else.
check 1 --repeat 1 --sanitizer undefined "$dir/out"
says '^good_fuzzer: sanitizer: 0 of the library.s 40 functions are compiled with undefined'
says '^good_fuzzer: sanitizer: 40 of the library.s functions are compiled with address, expected undefined alone'
check 1 --repeat 1 --sanitizer memory "$dir/out"
says '^good_fuzzer: sanitizer: 0 of the library.s 40 functions are compiled with memory'
check 1 --repeat 1 --arch i386 "$dir/out"
says '^good_fuzzer: files: expected i386, it is .*X86-64'

# ---- Those that are not -----------------------------------------------------------------------------------

target bare_fuzzer '' "$dir/library-bare.o"
target unchecked_fuzzer '' "$dir/library-unchecked.o"
target uncounted_fuzzer '' "$dir/library-uncounted.o"
target none_fuzzer 'if (len < 99999) return 0' "$dir/library.o"
target dies_fuzzer 'abort()'
target ownmain_fuzzer ''
target leaves_fuzzer 'if (len == 0) exit(0)'
target aside_fuzzer '' "$dir/library.o" -Wl,--no-as-needed "-L$dir/beside" -laside "-Wl,-rpath,$dir/beside"
target stripped_fuzzer ''
strip "$dir/out/stripped_fuzzer"
target dotted.v2_fuzzer ''
target nameless ''
target absolute_fuzzer "if (access(\"$dir/out/absolute_fuzzer\", R_OK) != 0) abort()"
target relative_fuzzer 'if (access("../bin/../etc", W_OK) != 0 && access("relative_fuzzer", R_OK) != 0) abort()'
target sources_fuzzer "if (access(\"$dir/beside/libaside.so\", R_OK) != 0) abort()"
target device_fuzzer 'if (open("/dev/null", O_RDONLY) < 0) abort()'
target writes_fuzzer 'if (open("/var/tmp", O_RDWR | O_TMPFILE, 0600) < 0) abort()'
target temporary_fuzzer 'int file = open("/tmp", O_RDWR | O_TMPFILE, 0600); if (file < 0) abort(); close(file)'
target crashing_fuzzer 'if (len > 3 && memcmp(bytes, "boom", 4) == 0) abort()'
target zeros_fuzzer 'if (len == 65536 && bytes[65535] == 0) abort()'
target ones_fuzzer 'if (len == 65536 && bytes[65535] == 255) abort()'
target remembers_fuzzer 'static int runs; if (++runs > 90) abort()'
target leaks_fuzzer 'static char *volatile kept; if (len > 3) { kept = malloc(10); kept = NULL; }'
target words_fuzzer ''
printf '"a\n' >>"$dir/out/words_fuzzer.dict"
target options_fuzzer ''
printf 'max_length = 3\ntimeout = soon\n[address]\n[env]\nHEAPRIG_STATS = x\n' >>"$dir/out/options_fuzzer.options"
target nodict_fuzzer ''
rm "$dir/out/nodict_fuzzer.dict"
target otherdict_fuzzer ''
printf 'dict = another.dict\n' >>"$dir/out/otherdict_fuzzer.options"
target noseeds_fuzzer ''
rm "$dir/out/noseeds_fuzzer_seed_corpus.zip"
target long_fuzzer ''
printf '[libfuzzer]\nmax_len = 59\n' >"$dir/out/long_fuzzer.options"
target deep_fuzzer ''
(cd "$dir" && cmake -E tar cf out/deep_fuzzer_seed_corpus.zip --format=zip seeds)
target torn_fuzzer '' # the seeds unzip, but one with a wrong checksum
entry=$(grep -obUaP 'PK\x01\x02' "$dir/seeds.zip" | head -n1 | cut -d: -f1)
printf '\0' | dd of="$dir/out/torn_fuzzer_seed_corpus.zip" bs=1 seek=$((entry + 16)) conv=notrunc status=none
printf boom >"$dir/seeds/boom"
(cd "$dir/seeds" && cmake -E tar cf ../out/crashing_fuzzer_seed_corpus.zip --format=zip all-a all-c boom)
touch "$dir/out/nobodys_fuzzer.dict"

check 1 --hide "$dir/beside" "$dir/out"
says '^good_fuzzer  *40 of 40 functions'
says '^temporary_fuzzer  *40 of 40 functions'
says '^bare_fuzzer: sanitizer: 0 of the library.s 40'
says '^bare_fuzzer: counters: the seeds cover 0 of the library.s functions'
says '^unchecked_fuzzer: sanitizer: 0 of the library.s 40'
says '^uncounted_fuzzer: counters: the seeds cover 0 of the library.s functions'
says '^none_fuzzer: counters: the seeds reach [0-9]+ edges'
says '^dies_fuzzer: start: exit status'
says '^ownmain_fuzzer: start: did not run 4 inputs'
says '^leaves_fuzzer: start: exit status .*fuzz target exited'
says '^leaves_fuzzer: odd input: exit status'
says '^aside_fuzzer: files: needs libaside.so'
says '^aside_fuzzer: files: looks for libraries in '
says '^stripped_fuzzer: files: no LLVMFuzzerTestOneInput'
says '^dotted.v2_fuzzer: files: services want names'
says '^nameless: files: services want names'
says '^absolute_fuzzer: start: exit status 1: SUMMARY: AddressSanitizer: ABRT'
says '^relative_fuzzer: start: exit status .*ABRT'
says '^sources_fuzzer: start: exit status .*ABRT'
says '^device_fuzzer: start: exit status .*ABRT'
says '^writes_fuzzer: start: exit status .*ABRT'
says '^crashing_fuzzer: seeds: exit status .*ABRT'
says '^zeros_fuzzer: odd input: exit status .*ABRT'
says '^ones_fuzzer: odd input: exit status .*ABRT'
says '^remembers_fuzzer: repeats: exit status .*ABRT'
says '^leaks_fuzzer: .*: exit status .*leak'
says '^words_fuzzer: dictionary: cannot be parsed: "a$'
says '^words_fuzzer: start: exit status 1: ParseDictionaryFile'
says '^options_fuzzer: options: libFuzzer has no option max_length'
says '^options_fuzzer: options: timeout = soon: expected a number'
says "^options_fuzzer: options: expected a section or .*'\\[address\\]'"
says '^options_fuzzer: options: services pass no HEAPRIG_STATS'
says '^nodict_fuzzer: dictionary: no nodict_fuzzer.dict'
says '^otherdict_fuzzer: options: dict = another.dict: no such file'
says '^noseeds_fuzzer: seeds: no noseeds_fuzzer_seed_corpus.zip'
says '^long_fuzzer: seeds: all-a is longer than 59 bytes'
says '^deep_fuzzer: seeds: expected a flat zip'
says '^torn_fuzzer: seeds: expected a flat zip of files: .*bad CRC'
says '^nobodys_fuzzer: files: nobodys_fuzzer.dict belongs to no target'

# ---- No folder of targets ---------------------------------------------------------------------------------

check 2 "$dir/nothing"
says 'nothing: expected a folder of fuzz targets; ci/oss-fuzz/build.sh makes one'
check 2 "$dir/seeds"
says 'seeds: expected fuzz targets'
check 2
check 2 --repeat 0 "$dir/out"
check 2 --sanitizer thread "$dir/out"
check 2 --hide "$dir/nothing" "$dir/out"
check 2 "$dir/out" "$dir/seeds"

# ---- Ended early, it leaves no target running ---------------------------------------------------------------

slow=slow_$$_fuzzer
target "$slow" 'sleep(60)'
mkdir "$dir/slow"
mv "$dir/out/$slow"* "$dir/slow/"
"$source/ci/check-fuzzers.sh" "$dir/slow" >"$dir/said" 2>&1 &
script=$!
running=0 # looks in a row: what only prints its help is gone at the next
for ((tries = 0; tries < 100 && running < 2; tries++)); do
    if pgrep -f "^/srv/$slow" >/dev/null; then
        running=$((running + 1))
    else
        running=0
    fi
    sleep 0.5
done
[ "$running" -eq 2 ] || fail "$slow does not run"
kill -TERM "$script"
status=0
wait "$script" || status=$?
[ "$status" -eq 130 ] || fail "ended early: exit status $status, expected 130"
sleep 1
if pgrep -f "^/srv/$slow" >/dev/null; then
    fail "ended early, it left $slow running"
fi
