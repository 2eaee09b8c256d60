"""Holds the compiled CUDA kernels to their budgets of registers and spills.

usage: registers_test.py FOLDER ARCHITECTURES   reads the reports of ptxas in FOLDER (*.report);
                                                ARCHITECTURES as in "80;90a"
       registers_test.py --self-test            budgets that are passed are noticed

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
    "embed_kernel": (0, 0, 64),
    "norm_kernel": (0, 0, 64),
    "swiglu_kernel": (0, 0, 64),
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
}

ENTRY = re.compile(r"Compiling entry function '(\w+)' for 'sm_(\w+)'")
SPILLS = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
REGISTERS = re.compile(r"Used (\d+) registers")
NAME = re.compile(r"\d+([a-z_]+_kernel)(?:ILi(\d+)ELb([01])E)?E")


def name_of(symbol):
    match = NAME.search(symbol)
    if not match:
        return symbol
    kernel, width, decode = match.groups()
    if width is None:
        return kernel
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


def judge(found, architectures):
    failures = []
    for architecture in architectures:
        for kernel, budget in BUDGETS.items():
            used = found.get((kernel, architecture))
            if used is None:
                failures.append(f"{kernel} for sm_{architecture} is in no report")
                continue
            for what, have, most in zip(("spilled bytes", "bytes of stack", "registers"), used, budget):
                if have is None or have > most:
                    failures.append(f"{kernel} for sm_{architecture}: {have} {what}, at most {most}")
    for kernel, architecture in found:
        if kernel not in BUDGETS:
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
    print("budgets that are passed are noticed")
    return 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    folder, architectures = pathlib.Path(sys.argv[1]), sys.argv[2].split(";")
    found = {}
    for report in sorted(folder.glob("*.report")):
        found.update(read_report(report.read_text(encoding="utf-8")))
    for (kernel, architecture), (spills, stack, registers) in sorted(found.items()):
        print(f"{kernel:32} sm_{architecture:4} {registers:4} registers {spills:4} spilled {stack:4} stack")
    failures = judge(found, architectures)
    print("\n".join(failures) or f"{len(found)} kernels within their budgets")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
