#!/usr/bin/env bash
# What an idle service costs: its CPU time over some seconds, as a share of one core.
#   usage: bench/idle.sh [TANDEM_BINARY] [SECONDS]
set -euo pipefail
cd "$(dirname "$0")/.."
binary=${1:-build/release/tandem}
seconds=${2:-20}

folder=$(mktemp -d)
"$binary" serve --config config/quickstart.yaml --port 0 --port-file "$folder/port" \
  --data-dir "$folder/data" 2>"$folder/log" &
service=$!
trap 'kill -TERM $service 2>/dev/null; wait $service || true; rm -rf "$folder"' EXIT
while [[ ! -s $folder/port ]]; do
  kill -0 "$service" || { cat "$folder/log" >&2 && exit 1; }
  sleep 0.1
done
sleep 3 # what starting up left to do

ticks() { awk '{print $14 + $15}' "/proc/$service/stat"; }
before=$(ticks)
sleep "$seconds"
used=$(($(ticks) - before))
threads=$(ls "/proc/$service/task" | wc -l)
awk -v used="$used" -v hz="$(getconf CLK_TCK)" -v seconds="$seconds" -v threads="$threads" 'BEGIN {
  printf "idle: %.2f s of CPU in %d s = %.2f %% of one core, %d threads\n",
    used / hz, seconds, 100 * used / hz / seconds, threads
}'
