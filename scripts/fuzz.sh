#!/usr/bin/env bash
# Builds the fuzzers (libFuzzer, AddressSanitizer, LeakSanitizer and UBSan; clang 14 comes with
# scripts/deps.sh --fuzz) and runs one after the other, one process at a time, on one core. What
# they have learned stays in build/fuzz/corpus and every run is a line of build/fuzz/runs.tsv, so
# that a later call goes on. Ends with 1 if there was a finding, which lies in build/fuzz/findings.
#   usage: scripts/fuzz.sh [--executions N | --seconds S] [--slice N] [TARGET[=N]…]
#     TARGET        answer, encode, template, tokenizer_json (all); N executions of this one
#     --executions  of each target (default 100000)
#     --seconds     for each target instead
#     --slice       a process ends after so many executions and the next one takes over (default
#                   1000000); the sums are kept up to date so often
#     --summary     run nothing; print what all runs until now add up to
set -euo pipefail
cd "$(dirname "$0")/.."

executions=100000 seconds=0 slice=1000000 summary_only=0
targets=()
while (($#)); do
  case $1 in
    --executions) executions=${2:?} && shift ;;
    --seconds) seconds=${2:?} && shift ;;
    --slice) slice=${2:?} && shift ;;
    --summary) summary_only=1 ;;
    -h | --help) sed -n '2,14s/^# \{0,1\}//p' "$0" && exit 0 ;;
    [a-z]*)
      [[ -f tests/fuzz/${1%%=*}_fuzz.cpp ]] || { echo "fuzz.sh: no target '$1'" >&2 && exit 2; }
      targets+=("$1") ;;
    *) echo "fuzz.sh: unknown argument '$1'; see --help" >&2 && exit 2 ;;
  esac
  shift
done
((${#targets[@]})) || targets=(answer encode template tokenizer_json)

folder=build/fuzz
runs=$folder/runs.tsv
# Longest input in bytes: enough for every construct, short enough for thousands a second. Every
# other slice has a quarter of it: several times as many executions for what short inputs can show.
declare -A max_bytes=([answer]=512 [encode]=256 [template]=512 [tokenizer_json]=1024)

summary() {
  [[ -f $runs ]] || { echo "no runs yet" && return; }
  awk -F '\t' '
    { n[$2] += $4; s[$2] += $5; f[$2] += $6; c[$2] = $7; e[$2] = $8; all += $4; bad += $6 }
    END {
      printf "%-16s %14s %10s %10s %10s %9s\n", "target", "executions", "seconds", "edges",
             "corpus", "findings"
      for (t in n) printf "%-16s %14d %10d %10d %10d %9d\n", t, n[t], s[t], c[t], e[t], f[t]
      printf "%-16s %14d %42d\n", "all", all, bad
    }' "$runs"
}
((summary_only)) && summary && exit 0

scripts/deps.sh --fuzz
scripts/build.sh fuzz fuzz
python3 tests/fuzz/make_seeds.py "$folder/seeds"
mkdir -p "$folder/logs" "$folder/findings"

# The quarantine is kept small for the cache's sake; inputs are small, too.
export ASAN_OPTIONS=malloc_context_size=6:quarantine_size_mb=16:detect_stack_use_after_return=0
export UBSAN_OPTIONS=print_stacktrace=1

timeout_exit=70

# True if the timeouts of TARGET in the folder of findings end in time when run again; they go.
confirm_timeout() {
  local input
  for input in "$folder/findings/$1"-timeout-*; do
    timeout 60 "$folder/tests/fuzz/fuzz_$1" -timeout=10 "$input" >/dev/null 2>&1 || return 1
    rm "$input"
  done
}

# run_slice TARGET LIMIT…: one process; its numbers go to runs.tsv.
run_slice() {
  local target=$1 log begin rc=0 ended count edges corpus slices longest given=()
  shift
  [[ -f tests/fuzz/$target.dict ]] && given+=(-dict="tests/fuzz/$target.dict")
  log=$folder/logs/$target.log
  mkdir -p "$folder/corpus/$target" "$folder/seeds/$target"
  longest=${max_bytes[$target]}
  slices=$(cut -f 2 "$runs" 2>/dev/null | grep -cx "$target" || true)
  ((slices % 2)) && longest=$((longest / 4))
  begin=$SECONDS
  "$folder/tests/fuzz/fuzz_$target" "$@" -max_len="$longest" -timeout=10 \
    -rss_limit_mb=4096 -report_slow_units=60 -print_final_stats=1 \
    "${given[@]}" -artifact_prefix="$folder/findings/$target-" \
    "$folder/corpus/$target" "$folder/seeds/$target" >"$log" 2>&1 || rc=$?
  # A process that was stopped or starved looks like one that hangs: the input decides, alone.
  if ((rc == timeout_exit)) && confirm_timeout "$target"; then rc=0; fi
  # SIGKILL and SIGTERM come from outside: the run is over, and nothing was found.
  ended=$((rc == 137 || rc == 143))
  ((ended)) && rc=0
  count=$(awk '/^stat::number_of_executed_units:/ {print $2}' "$log")
  edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1 | cut -d ' ' -f 2 || true)
  corpus=$(find "$folder/corpus/$target" -type f | wc -l)
  done_executions=${count:-0}
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$target" \
    "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$done_executions" \
    $((SECONDS - begin)) $((rc != 0)) "${edges:-0}" "$corpus" >>"$runs"
  ((ended)) && echo "fuzz.sh: $target was killed from outside" >&2 && return 1
  if ((rc)); then
    grep -v -e REDUCE -e NEW "$log" | tail -n 60 >&2
    echo "fuzz.sh: finding in $target (exit $rc); the input lies in $folder/findings" >&2
    return 1
  fi
}

for entry in "${targets[@]}"; do
  target=${entry%%=*}
  wanted=$executions
  [[ $entry == *=* ]] && wanted=${entry#*=}
  if ((seconds)) && [[ $entry != *=* ]]; then
    echo "$target: $seconds s"
    run_slice "$target" -max_total_time="$seconds"
    continue
  fi
  echo "$target: $wanted executions"
  while ((wanted > 0)); do
    run_slice "$target" -runs=$((wanted < slice ? wanted : slice))
    ((done_executions > 0)) || { echo "fuzz.sh: $target executed nothing" >&2 && exit 1; }
    wanted=$((wanted - done_executions))
  done
done
summary
