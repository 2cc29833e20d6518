#!/usr/bin/env bash
# Every corpus file has a line in corpus/MANIFEST.tsv and every line a file, 2 MiB in all at most, no
# file twice, each of corpus/regress names its target: ci/corpus.sh check, without the replay, which
# tests of their own do. usage: manifest.sh BIN SOURCE
set -euo pipefail

exec "$2/ci/corpus.sh" check --files
