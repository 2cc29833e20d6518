#!/bin/bash -eu
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

# The unit tests, without engine, sanitizer or network; the sources stay as they are. Tests that are scripts
# want more packages than the image has.
unset CFLAGS CXXFLAGS LIB_FUZZING_ENGINE LDFLAGS
scripts=$(cd "$SRC/heaprig" && printf '%s\n' */test/*.sh | sed 's|/test/|/|; s|\.sh$||' | paste -sd '|')
cmake -S "$SRC/heaprig" -B "$WORK/heaprig-tests" -G Ninja
cmake --build "$WORK/heaprig-tests"
ctest --test-dir "$WORK/heaprig-tests" --output-on-failure -j "$(nproc)" -E "^($scripts|sweep)\$"
