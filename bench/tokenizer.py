#!/usr/bin/env python3
"""Encoding throughput beside Hugging Face tokenizers, one thread each, in one run.

usage: build/clients/python/bin/python bench/tokenizer.py BENCH_TOKENIZER [--seconds S]
For each tokenizer and text: both encode the same documents of 16 KiB, in turns, pinned to one core;
the best pass of each counts, in processor time, so that other programs do not matter. The reference
is asked by its faster call, encode_batch_fast, which makes no offsets, with its thread pool off.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

from tokenizers import Tokenizer  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from hf_tokenizers_test import TOKENIZERS, open_reference, random_text  # noqa: E402

DOCUMENT_BYTES = 16384
TEXT_BYTES = 1 << 20


def texts():
    """Name and text: English prose, code, and many scripts at random."""
    found = {}
    for name, folder, pattern in (("prose", "qmsum", "*"), ("code", "", "*.cpp")):
        paths = sorted((SHARED / folder).rglob(pattern)) if folder else sorted(ROOT.rglob(pattern))
        paths = [path for path in paths if path.is_file() and "build" not in path.parts]
        found[name] = "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths)
    import random

    source = random.Random(1)
    pieces, size = [], 0
    while size < TEXT_BYTES // 2:
        pieces.append(random_text(source))
        size += len(pieces[-1].encode())
    found["scripts"] = "".join(pieces)
    return {name: text[:TEXT_BYTES] for name, text in found.items() if text}


def documents_of(data):
    documents, at = [], 0
    while at < len(data):
        end = min(at + DOCUMENT_BYTES, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end += 1
        documents.append(data[at:end].decode())
        at = end
    return documents


def reference_pass(reference, documents):
    encode = getattr(reference, "encode_batch_fast", reference.encode_batch)
    begin = time.process_time()
    encoded = encode(documents)
    return time.process_time() - begin, sum(len(one.ids) for one in encoded)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("bench")
    parser.add_argument("--seconds", type=float, default=2)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{'tokenizer':12} {'text':8} {'tandem MB/s':>12} {'reference':>10} {'times':>6} same")
    for name, folder in TOKENIZERS.items():
        if not (folder / "tokenizer.json").exists():
            continue
        reference = open_reference(name, folder / "tokenizer.json")
        for kind, text in texts().items():
            data = text.encode()
            documents = documents_of(data)
            with tempfile.NamedTemporaryFile() as file:
                file.write(data)
                file.flush()
                best, ours = 1e9, {}
                for _ in range(3):
                    seconds, tokens = reference_pass(reference, documents)
                    best = min(best, seconds)
                    command = [arguments.bench, str(folder), file.name, str(DOCUMENT_BYTES)]
                    result = subprocess.run(
                        command + [str(arguments.seconds / 3)], capture_output=True, check=True
                    )
                    turn = json.loads(result.stdout)
                    if turn["encode_mb_s"] > ours.get("encode_mb_s", 0):
                        ours = turn
            theirs = len(data) / best / 1e6
            same = ours["tokens"] == tokens
            print(
                f"{name:12} {kind:8} {ours['encode_mb_s']:12.1f} {theirs:10.1f} "
                f"{ours['encode_mb_s'] / theirs:6.1f} {'yes' if same else 'NO'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
