#!/usr/bin/env python3
"""First inputs for the fuzzers, made from the golden files of the other tests.

usage: make_seeds.py FOLDER     writes FOLDER/encode, FOLDER/template, FOLDER/tokenizer_json
"""

import json
import pathlib
import sys

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
# As in encode_fuzz.cpp.
SUBJECTS = ["llama3", "llama2", "qwen2", "gpt2", "metaspace", "words", "unigram", "unigram-bytes"]
MAX_BYTES = 1024


def encode_seeds():
    for number, name in enumerate(SUBJECTS):
        cases = json.loads((GOLDEN / "tokenizers" / f"{name}-like" / "golden.json").read_text())
        for case in cases:
            text = case["text"].encode("utf-8", "replace")
            for flags in (0, 0x40, 0xC0):
                yield bytes([number | flags]) + text


def template_seeds():
    for path in sorted((GOLDEN / "chat" / "templates").iterdir()):
        yield path.read_bytes()
    for line in (GOLDEN / "chat" / "expressions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.replace("\\n", "\n").encode()


def tokenizer_json_seeds():
    kinds = {"byte": 1, "character": 2, "unigram": 3}
    for name in SUBJECTS:
        path = GOLDEN / "tokenizers" / f"{name}-like" / "tokenizer.json"
        whole = json.loads(path.read_text())
        model = whole["model"]
        rest = {key: value for key, value in whole.items() if value and key not in ("model", "version")}
        kind = "unigram" if model["type"] == "Unigram" else "character"
        if "ByteLevel" in json.dumps(rest.get("pre_tokenizer")):
            kind = "byte"
        shift = {"byte": 300, "character": 0, "unigram": 0}[kind]
        for token in rest.get("added_tokens", []):
            token["id"] = token["id"] % 100 + shift
        rest.pop("added_tokens" if kind != "byte" else "", None)
        text = json.dumps(rest, ensure_ascii=False, separators=(",", ":")).encode()
        yield bytes([kinds[kind]]) + b"," + text[1:]
        yield bytes([kinds[kind]]) + b"," + text[1:] + b'\0{"add_bos_token":true,"bos_token":"th"}'
        for key, value in rest.items():
            part = json.dumps({key: value}, ensure_ascii=False, separators=(",", ":")).encode()
            yield bytes([kinds[kind]]) + b"," + part[1:]
    small = '{"model":{"vocab":{"a":0,"b":1,"ab":2},"merges":["a b"]},"decoder":{"type":"Fuse"}}'
    yield b"\0" + small.encode()
    yield b"\0" + small.encode() + b'\0{"added_tokens_decoder":{"3":{"content":"<x>"}}}'


def main():
    root = pathlib.Path(sys.argv[1])
    for name, seeds in (
        ("encode", encode_seeds()),
        ("template", template_seeds()),
        ("tokenizer_json", tokenizer_json_seeds()),
    ):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            if len(seed) <= MAX_BYTES:
                (folder / str(number)).write_bytes(seed)


if __name__ == "__main__":
    main()
