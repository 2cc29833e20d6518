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

# The normal build, with the environment's compiler, flags and engine; targets and what belongs to them
# go to $OUT. Serves OSS-Fuzz, ClusterFuzzLite and ci/test.sh.
more_ub=OFF
if [ "$SANITIZER" = undefined ]; then
    more_ub=ON
fi
rm -rf "$WORK/heaprig"
cmake -S "$SRC/heaprig" -B "$WORK/heaprig" -G Ninja -DCMAKE_BUILD_TYPE=None \
    -DHEAPRIG_SERVICES=ON -DHEAPRIG_TESTS=OFF -DHEAPRIG_MORE_UB=$more_ub
cmake --build "$WORK/heaprig" --target heaprig_services
cmake --install "$WORK/heaprig" --component services --prefix "$OUT"
