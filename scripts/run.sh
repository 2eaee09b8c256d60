#!/usr/bin/env bash
# One command from a fresh clone to a running service: installs what is missing, builds, and serves
# the bundled demo model as config/quickstart.yaml says. With --demo it serves on a free port, lets
# the example client show what Tandem does, stops the service and exits 0 if both were content.
#   usage: scripts/run.sh [--demo | OPTION OF tandem serve…]
set -euo pipefail
cd "$(dirname "$0")/.."

demo=0
if [[ ${1:-} == --demo ]]; then
  demo=1
  shift
  (($# == 0)) || { echo "run.sh: --demo takes no further arguments" >&2 && exit 2; }
elif [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0"
  exit 0
fi

scripts/deps.sh
targets=(tandem)
((demo)) && targets+=(demo_client)
scripts/build.sh release "${targets[@]}"
tandem=build/release/tandem

if ((!demo)); then
  exec "$tandem" serve --config config/quickstart.yaml "$@"
fi

folder=$(mktemp -d -t tandem-demo.XXXXXX)
log=$folder/service.log
service=""

# Stops the service as an operator would, and by force if it does not end within 60 s.
stop_service() {
  local result=0 waited=0
  kill -TERM "$service" 2>/dev/null || true
  while kill -0 "$service" 2>/dev/null && ((waited < 600)); do
    sleep 0.1
    waited=$((waited + 1))
  done
  if kill -0 "$service" 2>/dev/null; then
    echo "run.sh: the service did not stop within 60 s of SIGTERM" >&2
    kill -KILL "$service"
  fi
  wait "$service" || result=$?
  service=""
  return "$result"
}

on_exit() {
  local result=$?
  [[ -n $service ]] && { stop_service || true; }
  if ((result == 0)); then
    rm -rf "$folder"
  else
    echo "run.sh: failed with code $result; the service's log is $log" >&2
    [[ -f $log ]] && tail -n 15 "$log" >&2
  fi
}
trap on_exit EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

"$tandem" serve --config config/quickstart.yaml --port 0 --port-file "$folder/port" \
  --data-dir "$folder/data" --drain-delay-seconds 0 >"$log" 2>&1 &
service=$!

# Ready within 60 s, or not at all.
url=""
for ((i = 0; i < 600; ++i)); do
  kill -0 "$service" 2>/dev/null || { wait "$service" || true; service=""; break; }
  if [[ -z $url && -s $folder/port ]]; then url=http://127.0.0.1:$(<"$folder/port"); fi
  if [[ -n $url ]] && curl --silent --fail --max-time 2 --output /dev/null "$url/readyz"; then
    break
  fi
  sleep 0.1
done
[[ -n $service ]] || { echo "run.sh: the service ended before it was ready" >&2 && exit 1; }
if [[ -z $url ]] || ! curl --silent --fail --max-time 2 --output /dev/null "$url/readyz"; then
  echo "run.sh: the service was not ready within 60 s" >&2
  exit 1
fi

client_result=0
build/release/examples/demo_client --url "$url" || client_result=$?
service_result=0
stop_service || service_result=$?
((client_result == 0)) || echo "run.sh: the demo client ended with code $client_result" >&2
((service_result == 0)) || echo "run.sh: the service ended with code $service_result" >&2
((client_result == 0 && service_result == 0))
