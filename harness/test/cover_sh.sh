#!/usr/bin/env bash
# ci/cover.sh --check on a small program: the list it writes is the one it accepts, and each way in which
# a list can be wrong is told of.
# usage: cover_sh.sh BIN SOURCE
# shellcheck disable=SC2016 # the quotes in patterns are the page's
set -euo pipefail

source=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

fail() {
    printf 'cover_sh.sh: %s\n' "$1" >&2
    if [ -s "$dir/said" ]; then
        cat "$dir/said" >&2
    fi
    exit 1
}

# ---- A project: one function reached whole, one in part, one not at all ---------------------------

project=$dir/project
page=$project/COVERAGE.md
mkdir -p "$project/src"
cat >"$project/src/small.c" <<'TEXT'
static int never(int value)
{
    return value * 2;
}

static int partly(int value)
{
    if (value > 100) {
        value = 100;
        value -= 1;
    }
    return value;
}

static int whole(int value)
{
    return value + 1;
}

int main(int count, char **words)
{
    (void)words;
    return whole(partly(count)) == 77 ? never(count) : 0;
}
TEXT
build() {
    clang-14 -O0 -g -fprofile-instr-generate -fcoverage-mapping "$project/src/small.c" -o "$project/small"
}
build
echo "$project/small" >"$project/programs"
echo "$project/src/small.c" >"$project/sources"

# run STATUS OPTION...: what cover.sh says, with this exit status.
run() {
    local wanted=$1 status=0
    shift
    "$source/ci/cover.sh" --project "$project" "$@" >"$dir/out" 2>"$dir/said" || status=$?
    [ "$status" -eq "$wanted" ] || fail "cover.sh $*: status $status, expected $wanted"
}

told() {
    grep -qF -- "$1" "$dir/said" || fail "expected to be told: $1"
}

# ---- Lines, and the list ----------------------------------------------------------------------------

run 2 --check
told 'COVERAGE.md is not there: --write makes it'
run 0 --missing
grep -Eq '^src/small.c +17 +6 ' "$dir/out" || fail "the table of files: $(cat "$dir/out")"
grep -q '^src/small.c:9:  *value = 100;$' "$dir/out" || fail 'the lines that are missing'
run 0 --write
grep -qxF '| `src/small.c` | `never` | 3 | (no reason yet) |' "$page" || fail 'the row of never'
grep -qxF '| `src/small.c` | `partly` | 3 | (no reason yet) |' "$page" || fail 'the row of partly'
if grep -q whole "$page"; then
    fail 'a function that is reached has a row'
fi
run 1 --check
told 'src/small.c never: has no reason'

sed -i -e '/`never`/s/(no reason yet)/kept for later/' -e '/`partly`/s/(no reason yet)/nobody counts so far/' \
    -e 's/^Floor: lines 0 %/Floor: lines 60 %/' "$page"
run 0 --check
run 0 --write # keeps reasons and floors
grep -q 'kept for later' "$page" || fail 'a reason was lost'
run 0 --check
cp "$page" "$dir/good"

# ---- Each way to be wrong -----------------------------------------------------------------------------

# wrong EXPECTED SED: the good page, changed.
wrong() {
    sed "$2" "$dir/good" >"$page"
    if cmp -s "$page" "$dir/good"; then
        fail "this changes nothing: $2"
    fi
    run 1 --check
    told "$1"
    cp "$dir/good" "$page"
}

wrong 'src/small.c never: 3 lines are not reached, and it is not listed' '/`never`/d'
wrong 'src/small.c whole: is listed, but all of it is reached: remove the row' '/`never`/{p;s/never/whole/}'
wrong 'src/small.c partly: 3 lines are not reached, listed are 2' '/`partly`/s/| 3 |/| 2 |/'
wrong 'src/small.c never: listed twice' '/`never`/p'
wrong 'src/small.c never: has no reason' 's/kept for later//'
wrong 'a row of the table is not' '/`never`/s/| 3 |/| three |/'
wrong 'lines: 64.7 %, under the floor of 65 %' 's/60 %/65 %/'
wrong 'the page has no floor' '/^Floor/d'

# A ? allows for chance, up to its number.
sed '/`never`/{p;s/never/whole/;s/| 3 |/| 2? |/}' "$dir/good" >"$page"
run 0 --check
sed '/`partly`/s/| 3 |/| 2? |/' "$dir/good" >"$page"
run 1 --check
told 'src/small.c partly: 3 lines are not reached, listed are 2'
cp "$dir/good" "$page"

# Lines that move change nothing; a function that is reached now, or no more, does.
sed -i '1i /* one line more */' "$project/src/small.c"
build
run 0 --check
echo "$project/small $(seq -s ' ' 120)" >"$project/programs"
run 1 --check
told 'src/small.c partly: is listed, but all of it is reached: remove the row'
run 0 --write
run 0 --check
if grep -q '`partly`' "$page"; then
    fail 'a row that went is still there'
fi

# ---- Bad usage ----------------------------------------------------------------------------------------

run 2 --project /nowhere
told "cover.sh: --project '/nowhere': expected a folder with a file named programs"
run 2 --corpus
run 2 --fast
told "cover.sh: unknown argument '--fast', see --help"
echo /bin/false >"$project/programs"
run 1
