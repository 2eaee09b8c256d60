"""Holds the compiled CUDA kernels to their budgets of registers and spills.

usage: registers_test.py FOLDER ARCHITECTURES [flashinfer]
           reads the reports of ptxas in FOLDER (*.report); ARCHITECTURES as in "80;90a"; flashinfer:
           its kernels were built as well
       registers_test.py --self-test    budgets that are passed are noticed

Every kernel that is compiled must be in the table, for every architecture, and the other way round:
a kernel without a budget is a failure, and so is a budget without a kernel. Standard library only.
"""

import pathlib
import re
import sys

# Kernel: bytes of spill stores and loads, bytes of stack, registers. A prefill tile of 128 elements
# has 64 sums, 32 scores and 32 words of queries in each thread: it fills the register file with two
# blocks of 128 threads to a multiprocessor, and must not spill.
BUDGETS = {
    "embed_kernel<1>": (0, 0, 64),
    "embed_kernel<4>": (0, 0, 64),
    "norm_kernel<1>": (0, 0, 64),
    "norm_kernel<4>": (0, 0, 64),
    "swiglu_kernel<1>": (0, 0, 64),
    "swiglu_kernel<8>": (0, 0, 64),
    "rotate_kernel": (0, 0, 64),
    "merge_kernel": (0, 0, 64),
    "copy_blocks_kernel": (0, 0, 64),
    "remember_kernel": (0, 0, 64),
    "draw_kernel": (0, 0, 64),
    "attend_kernel<32, decode>": (0, 0, 96),
    "attend_kernel<64, decode>": (0, 0, 128),
    "attend_kernel<128, decode>": (0, 0, 168),
    "attend_kernel<32, prefill>": (0, 0, 128),
    "attend_kernel<64, prefill>": (0, 0, 200),
    "attend_kernel<128, prefill>": (0, 0, 255),
    # One block of 256 threads to a multiprocessor: its shared memory leaves no room for a second.
    "skinny_kernel<8>": (0, 0, 80),
    "skinny_kernel<16>": (0, 0, 96),
    "skinny_kernel<32>": (0, 0, 128),
    "skinny_kernel<64>": (0, 0, 208),
}

# FlashInfer's kernels, which are not ours to mend: what its pinned version takes with this toolkit,
# so that a change is noticed. fa2<rows of a tile, head width, keys of a step and warp>; which step
# is taken depends on the shared memory of the device. The largest steps of tiles of 16 rows spill;
# A100, H100 and H200 take 32 keys at 128 elements and 64 at 64, which do not.
FLASHINFER_BUDGETS = {
    "fa2<16, 128, 16>": (0, 0, 168),
    "fa2<16, 128, 32>": (0, 0, 184),
    "fa2<16, 128, 64>": (152, 72, 255),
    "fa2<16, 128, 128>": (556, 280, 255),
    "fa2<16, 64, 32>": (0, 0, 168),
    "fa2<16, 64, 64>": (0, 0, 255),
    "fa2<16, 64, 128>": (612, 304, 255),
    "fa2<64, 128, 16>": (0, 0, 160),
    "fa2<64, 128, 32>": (0, 0, 160),
    "fa2<64, 128, 64>": (24, 16, 184),
    "fa2<64, 128, 128>": (48, 24, 255),
    "fa2<64, 64, 32>": (0, 0, 128),
    "fa2<64, 64, 64>": (0, 0, 168),
    "fa2<64, 64, 128>": (0, 0, 200),
    "fa2<128, 128, 16>": (0, 0, 248),
    "fa2<128, 128, 32>": (0, 0, 248),
    "fa2<128, 128, 64>": (24, 16, 255),
    "fa2<128, 64, 32>": (0, 0, 200),
    "fa2<128, 64, 64>": (0, 0, 232),
    "fa2<128, 64, 128>": (76, 40, 255),
    "fa2_merge<16, 32>": (0, 0, 64),
    "fa2_merge<8, 32>": (0, 0, 64),
    "fa2_merge<8, 16>": (0, 0, 64),
    "fa2_merge<8, 8>": (0, 0, 64),
}
# For sm_90a alone.
FA3_BUDGETS = {"fa3<64>": (0, 0, 168), "fa3<128>": (0, 0, 168)}

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
NAME = re.compile(r"\d+([a-z_]+_kernel)(?:ILi(\d+)E(?:Lb([01])E)?)?E")

FA2 = re.compile(r"10flashinfer34BatchPrefillWithPagedKVCacheKernelINS_12KernelTraitsI"
                 r"LNS_8MaskModeE1ELj(\d+)ELj\d+ELj(\d+)ELj(\d+)E")
FA2_MERGE = re.compile(r"10flashinfer41PersistentVariableLengthMergeStatesKernelILj(\d+)ELj(\d+)E")
FA3 = re.compile(r"10flashinfer24PrefillWithKVCacheKernelI.*AttentionKernelTraitsILb0ELi(\d+)E")


def name_of_flashinfers(symbol):
    if match := FA2.search(symbol):
        tile, keys, width = map(int, match.groups())
        return f"fa2<{tile}, {16 * width}, {16 * keys}>"
    if match := FA2_MERGE.search(symbol):
        return f"fa2_merge<{match.group(1)}, {match.group(2)}>"
    if match := FA3.search(symbol):
        return f"fa3<{match.group(1)}>"
    return symbol


def name_of(symbol):
    if "10flashinfer" in symbol:
        return name_of_flashinfers(symbol)
    match = NAME.search(symbol)
    if not match:
        return symbol
    kernel, width, decode = match.groups()
    if width is None:
        return kernel
    if decode is None:
        return f"{kernel}<{width}>"
    return f"{kernel}<{width}, {'decode' if decode == '1' else 'prefill'}>"


def read_report(text):
    """{(kernel, architecture): (spill bytes, stack bytes, registers)}"""
    found, current, stack, spills = {}, None, None, None
    for line in text.splitlines():
        if match := ENTRY.search(line):
            current = (name_of(match.group(1)), match.group(2))
        elif match := SPILLS.search(line):
            stack, stores, loads = map(int, match.groups())
            spills = stores + loads
        elif current and (match := REGISTERS.search(line)):
            found[current] = (spills, stack, int(match.group(1)))
            current = None
    return found


def merge(found, more):
    """A kernel that several objects hold counts as its worst."""
    for key, used in more.items():
        found[key] = tuple(map(max, found[key], used)) if key in found else used


def budgets_of(architecture, flashinfer):
    budgets = dict(BUDGETS)
    if flashinfer:
        budgets |= FLASHINFER_BUDGETS
        if architecture == "90a":
            budgets |= FA3_BUDGETS
    return budgets


def judge(found, architectures, flashinfer=False):
    failures = []
    for architecture in architectures:
        for kernel, budget in budgets_of(architecture, flashinfer).items():
            used = found.get((kernel, architecture))
            if used is None:
                failures.append(f"{kernel} for sm_{architecture} is in no report")
                continue
            for what, have, most in zip(("spilled bytes", "bytes of stack", "registers"), used, budget):
                if have is None or have > most:
                    failures.append(f"{kernel} for sm_{architecture}: {have} {what}, at most {most}")
    for kernel, architecture in found:
        if kernel not in budgets_of(architecture, flashinfer):
            failures.append(f"{kernel} for sm_{architecture} has no budget")
    return failures


def self_test():
    report = """ptxas info    : Compiling entry function '_ZN1a6x_abc13attend_kernelILi128ELb1EEEv' for 'sm_80'
    8 bytes stack frame, 12 bytes spill stores, 4 bytes spill loads
ptxas info    : Used 170 registers, used 1 barriers
ptxas info    : Compiling entry function '_ZN1a6x_abc9new_kernelE4Args' for 'sm_80'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers
"""
    found = read_report(report)
    assert found == {
        ("attend_kernel<128, decode>", "80"): (16, 8, 170),
        ("new_kernel", "80"): (0, 0, 10),
    }, found
    failures = judge(found, ["80"])
    for expected in ("16 spilled bytes", "8 bytes of stack", "170 registers", "new_kernel", "in no report"):
        assert any(expected in failure for failure in failures), (expected, failures)
    assert name_of("_ZN1a6x_abc13skinny_kernelILi16EEEvNS1_10SkinnyArgsE") == "skinny_kernel<16>"
    prefill = "_ZN10flashinfer34BatchPrefillWithPagedKVCacheKernelINS_12KernelTraitsILNS_8MaskModeE1E"
    assert name_of(prefill + "Lj16ELj1ELj8ELj4ELj4ELj1ELj4ELNS_") == "fa2<16, 64, 128>"
    theirs = {("fa2<16, 64, 128>", "80"): (614, 304, 255), ("fa3<64>", "80"): (0, 0, 1)}
    merge(theirs, {("fa2<16, 64, 128>", "80"): (10, 400, 20)})
    failures = judge(theirs, ["80"], flashinfer=True)
    for expected in ("614 spilled bytes", "400 bytes of stack", "fa2<64, 64, 32> for sm_80 is in no",
                     "fa3<64> for sm_80 has no budget"):
        assert any(expected in failure for failure in failures), (expected, failures)
    assert any("fa2<16, 64, 128> for sm_80 has no" in f for f in judge(theirs, ["80"]))
    print("budgets that are passed are noticed")
    return 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    folder, architectures = pathlib.Path(sys.argv[1]), sys.argv[2].split(";")
    flashinfer = sys.argv[3:] == ["flashinfer"]
    found = {}
    for report in sorted(folder.glob("*.report")):
        if flashinfer or not report.name.startswith("flashinfer_"):
            merge(found, read_report(report.read_text(encoding="utf-8")))
    for (kernel, architecture), (spills, stack, registers) in sorted(found.items()):
        print(f"{kernel:32} sm_{architecture:4} {registers:4} registers {spills:4} spilled {stack:4} stack")
    failures = judge(found, architectures, flashinfer)
    print("\n".join(failures) or f"{len(found)} kernels within their budgets")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
