#!/usr/bin/env bash
# Configures a preset and builds targets of it, all of them if none is named. As many compilers run
# as there are cores and memory for (1.5 GB each); JOBS=n overrules.
#   usage: scripts/build.sh PRESET [TARGET…]
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?usage: scripts/build.sh PRESET [TARGET…]}
shift

# The cache finds a file again from any clone of the same text.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1

cores=$(nproc)
memory_kb=$(awk '/^MemAvailable:/ {print $2}' /proc/meminfo)
by_memory=$((memory_kb / 1500000))
jobs=${JOBS:-$((cores < by_memory ? cores : by_memory))}
((jobs > 0)) || jobs=1

mkdir -p build
log=build/configure-$preset.log
if ! cmake --preset "$preset" >"$log" 2>&1; then
  tail -n 40 "$log" >&2
  echo "build.sh: configuring '$preset' failed; the whole text is in $log" >&2
  exit 1
fi
targets=()
(($#)) && targets=(--target "$@")
exec cmake --build "build/$preset" -j "$jobs" "${targets[@]}"
