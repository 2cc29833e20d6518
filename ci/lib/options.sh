#!/usr/bin/env bash
# Part of all scripts that start a target under libFuzzer.

# libfuzzer_options PROGRAM [TIMEOUT]: what its .options file says, its dictionary and what all
# targets have, one a line. An input that takes so many seconds is a finding.
libfuzzer_options() {
    if [ -f "$1.options" ]; then
        sed -n -e '/^dict *=/d; /^timeout *=/d' \
            -e '/^\[libfuzzer\]/,/^\[/s/^\([a-z_]*\) *= *\([^ ]*\)$/-\1=\2/p' "$1.options"
    fi
    if [ -f "$1.dict" ]; then
        echo "-dict=$1.dict"
    fi
    printf '%s\n' "-timeout=${2-25}" -rss_limit_mb=2560 -print_funcs=0 -print_final_stats=1
}
