#!/usr/bin/env bash
# One command from a fresh clone to every test: installs what is missing, builds the release preset
# with its tests, and runs them. Arguments go to ctest, for example `-R policy` or `-L e2e`.
#   usage: scripts/test.sh [--no-clients] [CTEST ARGUMENT…]
# --no-clients takes nothing from PyPI and npm: it leaves out the tests with OpenAI's client
# libraries, and FlashInfer's headers, which are fetched where a CUDA compiler is found.
set -euo pipefail
cd "$(dirname "$0")/.."

clients=1
if [[ ${1:-} == --no-clients ]]; then
  clients=0
  shift
elif [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0"
  exit 0
fi

if ((clients)); then
  packages=(--tests)
  command -v nvcc >/dev/null && packages+=(--flashinfer)
  scripts/deps.sh "${packages[@]}"
  # A Node that npm brought along (scripts/deps.sh) comes before an older one.
  export PATH="$PWD/build/clients/node/node_modules/.bin:$PATH"
else
  scripts/deps.sh
fi

scripts/build.sh release
((clients)) || echo "test.sh: the tests with OpenAI's clients are left out (--no-clients)"
exclude=()
((clients)) || exclude=(-E '^e2e_openai_')
ctest --test-dir build/release --output-on-failure --no-tests=error "${exclude[@]}" "$@"
