#!/usr/bin/env python3
"""`tandem tokenize` against Hugging Face tokenizers: the same ids and the same text for many strings.

usage: hf_tokenizers_test.py TANDEM [--strings N] [--seed S]
Needs the tokenizers package. Half of the strings are cut from real texts (the data folders beside
the source tree, and the source tree itself), half are random: letters of many scripts, emoji,
control characters, white space, special tokens. Each goes through GPT-2's, Llama 2's and the demo
model's tokenizer; where a data folder is absent its part is left out and said so.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import time

from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared" / "data"
TOKENIZERS = {
    "gpt-2": SHARED / "hf-tokenizers",
    "llama-2": SHARED / "hf-tokenizers" / "llama2",
    "demo": ROOT / "examples" / "demo_model" / "model",
    "llama3-like": ROOT / "tests" / "golden" / "tokenizers" / "llama3-like",
    "qwen2-like": ROOT / "tests" / "golden" / "tokenizers" / "qwen2-like",
}
DATA = ["bbh", "qmsum", "utf8", "gsm8k", "humaneval", "mt-bench", "mmlu", "tiktoken-ranks"]

# First and last character of blocks whose letters are old enough for every Unicode version in use.
SCRIPTS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA1, 0x17F), (0x250, 0x2AF), (0x300, 0x36F), (0x391, 0x3C9),
    (0x410, 0x44F), (0x561, 0x586), (0x5D0, 0x5EA), (0x627, 0x64A), (0x660, 0x669),
    (0x905, 0x939), (0x93E, 0x94D), (0x985, 0x98C), (0xB95, 0xB95), (0xE01, 0xE3A),
    (0x10D0, 0x10F0), (0x1100, 0x1112), (0x1E00, 0x1EF9), (0x2010, 0x2027), (0x2070, 0x2071),
    (0x20A0, 0x20B5), (0x2150, 0x2182), (0x2190, 0x21FF), (0x2200, 0x22FF), (0x2460, 0x24FF),
    (0x3000, 0x303F), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3),
    (0xFB00, 0xFB06), (0xFE00, 0xFE0F), (0xFF01, 0xFF5E), (0x10330, 0x1034A),
    (0x1D400, 0x1D454), (0x1F300, 0x1F5FF), (0x1F600, 0x1F64F), (0x1F680, 0x1F6C5),
    (0x20000, 0x2A6D6), (0xE0020, 0xE007E),
]
PIECES = [
    " ", "  ", "   ", "\n", "\r\n", "\t", "\n\n", " \n", "\u00a0", "\u2003", "\u3000", "\u0085",
    "\u2028", "\u180e", "\u200b", "\u200d", "\ufeff", "\x00", "\x01", "\x1f", "\x7f", "'s", "'LL",
    "'\u017f", "don't", "the", "ing", "1234567", "3.14", "\u0661\u0662", "<s>", "</s>", "<unk>",
    "<|endoftext|>", "<|im_start|>", "<0x0A>", "\u2581", "\u2581\u2581", "\U0001f468\u200d\U0001f469",
    "\U0001f1e9\U0001f1ea", "e\u0301", "\ufffd", "\U0010ffff", "_", "--", "...", "!?", "http://",
]  # fmt: skip


def real_texts():
    """Whole texts: files of the data folders, with JSON's escapes resolved, and our own source."""
    paths = [path for name in DATA for path in sorted((SHARED / name).rglob("*"))]
    for folder in ("model", "actors", "docs", "tests/golden"):
        paths += sorted((ROOT / folder).glob("*"))
    texts = []
    for path in paths:
        if not path.is_file() or path.stat().st_size > 16 << 20:
            continue
        text = path.read_bytes().decode("utf-8", errors="replace")
        if path.suffix == ".jsonl":
            text = "\n".join(
                json.dumps(json.loads(line), ensure_ascii=False) for line in text.splitlines() if line
            )
        if text:
            texts.append(text)
    return texts


def random_text(source):
    parts = []
    for _ in range(source.randrange(1, 12)):
        kind = source.random()
        if kind < 0.4:
            parts.append(source.choice(PIECES))
            continue
        low, high = source.choice(SCRIPTS)
        length = source.randrange(1, 30 if kind > 0.95 else 8)
        parts.append("".join(chr(source.randint(low, high)) for _ in range(length)))
    return "".join(parts)


def make_strings(count, seed):
    source = random.Random(seed)
    texts = real_texts()
    strings = []
    while len(strings) < count:
        if len(strings) % 2 == 0 and texts:
            text = source.choice(texts)
            begin = source.randrange(len(text))
            strings.append(text[begin : begin + source.randrange(1, 300)])
        else:
            strings.append(random_text(source))
    return strings


def ask(tandem, folder, lines):
    """What `tandem tokenize` answers to each line."""
    result = subprocess.run(
        [tandem, "tokenize", "--model", str(folder)],
        input="".join(json.dumps(line) + "\n" for line in lines),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        sys.exit(f"tandem tokenize failed: {result.stderr}")
    return [json.loads(line) for line in result.stdout.split("\n") if line]


def open_reference(name, path):
    """The reference refuses merges of tokens that hold spaces, which the Llama 2 file here has (in
    place of no-break spaces); they never apply, for spaces have been replaced by then."""
    state = json.loads(path.read_text(encoding="utf-8"))
    merges = state["model"]["merges"]
    kept = [one for one in merges if not isinstance(one, str) or one.count(" ") == 1]
    if len(kept) < len(merges):
        print(f"{name}: {len(merges) - len(kept)} merges with spaces kept from the reference")
    state["model"]["merges"] = kept
    return Tokenizer.from_str(json.dumps(state))


def compare(name, folder, tandem, strings):
    """The number of differences; the first ones are printed."""
    begin = time.monotonic()
    reference = open_reference(name, folder / "tokenizer.json")
    expected = [encoding.ids for encoding in reference.encode_batch(strings)]
    # Taken out by hand: the reference does not skip special tokens that are "normalized" as well.
    special = {id for id, token in reference.get_added_tokens_decoder().items() if token.special}
    plain = [[id for id in ids if id not in special] for ids in expected]
    texts = reference.decode_batch(plain, skip_special_tokens=True)
    answers = ask(tandem, folder, strings + expected)
    if len(answers) != 2 * len(strings):
        sys.exit(f"{name}: {len(answers)} answers to {2 * len(strings)} lines")
    differences = 0
    for i, text in enumerate(strings):
        got, back = answers[i], answers[len(strings) + i]
        if got == expected[i] and back == texts[i]:
            continue
        differences += 1
        if differences <= 5:
            print(f"{name}: {text!r}\n  expected {expected[i]}\n  got      {got}")
            print(f"  decoded expected {texts[i]!r}\n  decoded got      {back!r}")
    seconds = time.monotonic() - begin
    print(f"{name}: {len(strings)} strings, {differences} differences, {seconds:.1f} s", flush=True)
    return differences


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tandem")
    parser.add_argument("--strings", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    strings = make_strings(arguments.strings, arguments.seed)
    differences = 0
    for name, folder in TOKENIZERS.items():
        if not (folder / "tokenizer.json").exists():
            print(f"{name}: left out, its tokenizer.json is not here")
            continue
        differences += compare(name, folder, arguments.tandem, strings)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
