#!/usr/bin/env bash
# Installs what building and testing Tandem needs, and nothing that is there already. The only
# installer: every other script calls this one. Knows Debian 12 and Ubuntu 24.04; elsewhere it names
# what is missing. Packages of the distribution need root or sudo; the client libraries of the
# end-to-end tests (--tests) stay inside build/clients, FlashInfer's headers in build/flashinfer.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  cat <<'TEXT'
usage: scripts/deps.sh [--tests] [--fuzz] [--flashinfer] [--check]
  --tests   also the OpenAI client libraries, Hugging Face tokenizers and jinja2, from PyPI and
            npm, into build/clients
  --fuzz    also clang 14 with its sanitizers, for the fuzzers
  --flashinfer  also the headers of FlashInfer's attention for NVIDIA devices, from PyPI (9 MB)
  --check   install nothing; say what is missing and exit 1
TEXT
}

tests=0 fuzz=0 flashinfer=0 check=0
for argument in "$@"; do
  case $argument in
    --tests) tests=1 ;;
    --fuzz) fuzz=1 ;;
    --flashinfer) flashinfer=1 ;;
    --check) check=1 ;;
    -h | --help) usage && exit 0 ;;
    *) echo "deps.sh: unknown argument '$argument'" >&2 && usage >&2 && exit 2 ;;
  esac
done

fail() {
  echo "deps.sh: $*" >&2
  exit 1
}

# What the distribution calls its Boost; everything else has one name on both.
distribution=unknown
if [[ -r /etc/os-release ]]; then
  distribution=$(. /etc/os-release && echo "${ID:-unknown} ${VERSION_ID:-}")
fi
case $distribution in
  "debian 12") boost=libboost1.81-dev ;;
  "ubuntu 24.04") boost=libboost1.83-dev ;;
  *) boost="" ;;
esac

# program:package, looked up in PATH, so that a newer one from elsewhere counts as well.
programs=(g++:build-essential make:build-essential cmake:cmake ninja:ninja-build ccache:ccache
  mold:mold git:git curl:curl python3:python3)
libraries=("${boost:-libboost-dev}" libcaf-dev libspdlog-dev libfmt-dev catch2 libyaml-cpp-dev
  libcli11-dev prometheus-cpp-dev libsqlite3-dev libpcre2-dev libicu-dev libsentencepiece-dev
  libssl-dev)
((tests)) && programs+=(node:nodejs npm:npm patchelf:patchelf)
if ((fuzz)); then
  programs+=(clang++-14:clang-14)
  libraries+=(libclang-rt-14-dev)  # libFuzzer, AddressSanitizer and UBSan
fi

missing=()
for entry in "${programs[@]}"; do
  command -v "${entry%%:*}" >/dev/null || missing+=("${entry#*:}")
done
if ((tests || flashinfer)) && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(python3-venv)
fi
if [[ -n $boost ]]; then
  for package in "${libraries[@]}"; do
    [[ $(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
      missing+=("$package")
  done
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sed '/^$/d' | sort -u)

# Elsewhere we cannot install, but can see whether the headers are there.
if [[ -z $boost ]]; then
  headers=(boost/asio.hpp caf/actor_system.hpp spdlog/spdlog.h fmt/core.h catch2/catch.hpp
    yaml-cpp/yaml.h CLI/CLI.hpp prometheus/registry.h sqlite3.h pcre2.h unicode/normalizer2.h
    sentencepiece_processor.h openssl/evp.h)
  if command -v g++ >/dev/null; then
    for header in "${headers[@]}"; do
      echo "#if !__has_include(<$header>)
missing
#endif" | g++ -std=c++20 -x c++ -E -P - 2>/dev/null | grep -q missing && missing+=("$header")
    done
  fi
  if ((${#missing[@]})); then
    cat >&2 <<TEXT
deps.sh: this is '$distribution'; only Debian 12 and Ubuntu 24.04 are known.
  Not found: ${missing[*]}
  Install by hand: a C++20 compiler (GCC 12 or later), CMake 3.25, ninja, ccache, mold, git, curl,
  python3, and the development files of Boost 1.81, CAF 0.17, spdlog, fmt, Catch2 2.13, yaml-cpp,
  CLI11, prometheus-cpp, SQLite 3, PCRE2, ICU, SentencePiece and OpenSSL; for the tests also
  python3-venv, Node 20 and npm, for the fuzzers clang 14 and its compiler-rt.
TEXT
    fail "nothing was installed"
  fi
fi

if ((${#missing[@]})); then
  ((check)) && fail "missing packages: ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null ||
      fail "not root and no sudo; install these packages first: ${missing[*]}"
    as_root=(sudo)
  fi
  echo "installing ${missing[*]}"
  log=$(mktemp)
  trap 'rm -f "$log"' EXIT
  install_packages() {
    "${as_root[@]}" apt-get update -qq &&
      "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "${missing[@]}"
  }
  install_packages >"$log" 2>&1 || { tail -n 30 "$log" >&2 && fail "apt-get failed, see above"; }
fi

# make_folder FOLDER STAMP LACK COMMAND…: runs COMMAND unless FOLDER was made by the same line
# before. LACK is said when that fails: how to go on without.
make_folder() {
  local folder=$1 stamp=$2 lack=$3 log
  shift 3
  [[ -f $folder/.stamp && $(<"$folder/.stamp") == "$stamp" ]] && return 0
  ((check)) && fail "missing: $folder ($stamp)"
  echo "installing into $folder: $stamp"
  rm -rf "$folder" && mkdir -p "$folder"
  log=$(mktemp)
  if ! "$@" >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    fail "could not install $folder (see above); is the network there?
  $lack"
  fi
  rm -f "$log"
  echo "$stamp" >"$folder/.stamp"
}

# FlashInfer's headers and those of CUTLASS that they include, taken out of its wheel; none of its
# Python, and none of its dependencies. This version compiles with the CUDA toolkit's own CCCL.
flashinfer_version=0.6.8.post1
flashinfer_sha256=818f9b8cc2fe66c42a1f6264be4841ac8821ada703685a02cfccb2b5124a710b
make_flashinfer() {
  local folder=build/flashinfer status=0
  python3 -m venv "$folder/venv" &&
    echo "flashinfer-python==$flashinfer_version --hash=sha256:$flashinfer_sha256" \
      >"$folder/requirements.txt" &&
    "$folder/venv/bin/python" -m pip download --quiet --disable-pip-version-check --no-deps \
      --only-binary :all: --require-hashes --dest "$folder" -r "$folder/requirements.txt" &&
    python3 - "$folder" <<'PYTHON' || status=1
import pathlib, sys, zipfile
folder = pathlib.Path(sys.argv[1])
(wheel,) = folder.glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    wanted = ("flashinfer/data/include/", "flashinfer/data/cutlass/include/")
    archive.extractall(folder, [name for name in archive.namelist()
                                if name.startswith(wanted) or name.endswith("licenses/LICENSE")])
wheel.unlink()
PYTHON
  rm -rf "$folder/venv" "$folder/requirements.txt"
  return "$status"
}
if ((flashinfer)); then
  make_folder build/flashinfer "flashinfer-python==$flashinfer_version" \
    "Everything builds without it: attention is our own then." make_flashinfer
fi

((tests)) || exit 0

# The clients, unmodified, in folders of their own. A stamp holds what they were made from.
python_packages=("openai>=3,<4" "websockets>=13" "tokenizers>=0.21" "jinja2>=3.1,<4")
node_packages=(openai@6 ws@8)
clients=build/clients
# The Node client needs Node 20 or later; Debian 12 has 18, so npm brings one along.
if command -v node >/dev/null && (($(node -p 'process.versions.node.split(".")[0]') < 20)); then
  node_packages+=(node@20)
fi

make_python_client() {
  python3 -m venv "$clients/python" &&
    "$clients/python/bin/python" -m pip install --quiet --disable-pip-version-check \
      "${python_packages[@]}"
}
make_node_client() {
  npm install --prefix "$clients/node" --no-audit --no-fund --no-save "${node_packages[@]}"
}
lack="To run every other test: scripts/test.sh --no-clients"
make_folder "$clients/python" "${python_packages[*]}" "$lack" make_python_client
make_folder "$clients/node" "${node_packages[*]}" "$lack" make_node_client
