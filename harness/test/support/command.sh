# What scripts that try the heaprig command share. Sourced with the script's own arguments, BIN SOURCE:
# gives $bin, $source, $heaprig, $script, $failed, a folder of the script's own to stand in, and the functions
# below. Ends the script where the build has no command.
# shellcheck shell=bash disable=SC2034 # used by who sources it
script=$(basename "$0" .sh)
bin=$(cd "$1" && pwd) source=$(cd "$2" && pwd)
heaprig=$bin/heaprig
if [ ! -x "$heaprig" ]; then
    echo "$script: left out: this build has no heaprig"
    exit 0
fi
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit 1
failed=0

fail() {
    echo "$script: $*"
    failed=1
}

# expect STATUS ERROR COMMAND...: the exit status, and standard error to the letter (when ERROR is
# -, there may be anything). What was printed is left in ./out.
expect() {
    local status=$1 error=$2 got
    shift 2
    "$@" >out 2>err </dev/null
    got=$?
    [ "$got" = "$status" ] || fail "$*: exit status $got, expected $status: $(head -c 500 err)"
    [ "$error" = - ] || [ "$(cat err)" = "$error" ] ||
        fail "$*: said '$(head -c 500 err)', expected '$error'"
}
