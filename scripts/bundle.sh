#!/usr/bin/env bash
# Builds a tree that runs elsewhere: tandem, gpu_check, the demo model, what measures them on a GPU
# (bench/cuda_speed.py), and every shared library that they need except the C library, which every
# machine has, and CUDA's, which come with its toolkit and its driver. Programs find their libraries
# by $ORIGIN.
#   usage: scripts/bundle.sh [FOLDER]     default build/bundle; FOLDER.tar.gz lies beside it
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-build/bundle}
most_bytes=$((60 << 20))
fail() {
  echo "bundle.sh: $*" >&2
  exit 1
}

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
  sed -n '2,6s/^# \{0,1\}//p' "$0"
  exit 0
fi
[[ -z ${1:-} || $1 != -* ]] || fail "unknown argument '$1'; usage: scripts/bundle.sh [FOLDER]"
command -v patchelf >/dev/null || fail "patchelf is missing; scripts/deps.sh --tests installs it"

scripts/build.sh release tandem gpu_check
rm -rf "$folder" "$folder.tar.gz"
mkdir -p "$folder/bin" "$folder/lib" "$folder/examples/demo_model"
cp build/release/tandem build/release/bench/gpu_check "$folder/bin/"
cp -r examples/demo_model/model "$folder/examples/demo_model/"
cp config/quickstart.yaml config/default.yaml LICENSE "$folder/"
mkdir -p "$folder/bench" "$folder/config/models"
cp bench/cuda_speed*.py bench/live_service.py bench/transformers_batch.py "$folder/bench/"
cp -r config/models/llama-3.1-8b "$folder/config/models/"
(git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown) >"$folder/REVISION"

# What is compiled in from the headers of others keeps their licences.
headers=build/flashinfer
if [[ -f build/release/cuda/flashinfer_plan.o && -d $headers ]]; then
  mkdir -p "$folder/licenses"
  cp "$headers"/*.dist-info/licenses/LICENSE "$folder/licenses/FlashInfer"
  sed '/\*\*\*\//q' "$headers/flashinfer/data/cutlass/include/cutlass/cutlass.h" \
    >"$folder/licenses/CUTLASS"
fi

# What every Linux has, and what must fit the machine's own driver.
stays='^(linux-vdso|ld-linux-x86-64|libc|libm|libpthread|libdl|librt|libcuda|libcudart|libcublas|libcublasLt)\.so'
for program in "$folder"/bin/*; do
  ldd "$program" | grep -q 'not found' && fail "$program needs a library that is not here"
  ldd "$program" | awk '$2 == "=>" {print $1, $3}'
done | sort -u | while read -r name path; do
  [[ $name =~ $stays ]] || cp -L "$path" "$folder/lib/$name"
done

for program in "$folder"/bin/*; do
  strip --strip-unneeded "$program"
  patchelf --set-rpath "\$ORIGIN/../lib" "$program"
done
for library in "$folder"/lib/*; do
  chmod u+w "$library"
  strip --strip-unneeded "$library"
  patchelf --set-rpath "\$ORIGIN" "$library"
done

tar -C "$(dirname "$folder")" -czf "$folder.tar.gz" "$(basename "$folder")"
bytes=$(stat -c %s "$folder.tar.gz")
newest=$(for file in "$folder"/bin/* "$folder"/lib/*; do
  objdump -T "$file" | grep -o 'GLIBC_[0-9.]*'
done | sort -uV | tail -n 1)
echo "$folder.tar.gz: $bytes bytes, needs $newest or newer"
((bytes <= most_bytes)) || fail "larger than $most_bytes bytes"
