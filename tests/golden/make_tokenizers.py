#!/usr/bin/env python3
"""Trains the small tokenizers of this folder and writes what Hugging Face tokenizers
makes of difficult texts.

Each folder under tokenizers/ holds a tokenizer.json and golden.json: a list of {text, ids (special
tokens parsed, beginning-of-text added), plain_ids (special tokens not parsed, nothing added),
decoded (plain_ids)}. Needs the tokenizers package; run by hand: python3 tests/golden/make_tokenizers.py
"""

import json
import pathlib
import random
import sys

from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

HERE = pathlib.Path(__file__).parent / "tokenizers"

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog doesn't mind it at all.",
    "She said: \"I'll be there at 12:30, won't you?\" They've gone; we'd rather stay.",
    "def main():\n    for i in range(100):\n        print(i * 2)\n\n\treturn None\n",
    "Größe, naïve café, Ångström, Straße und Übermut; el niño comió piñata.",
    "Привет, мир! Как дела? Всё хорошо. 你好，世界。こんにちは世界。안녕하세요 세계.",
    "Numbers: 1 12 123 1234 12345 3.14159 1,000,000 0x7f 2024-01-31.",
    "the the the then there these them they ing ing ion ion tion ation",
] * 20


def texts():
    """Hand-picked cases, then random ones from a mixed alphabet."""
    picked = [
        "",
        " ",
        "  ",
        "\n",
        "\t \n \r\n\r\n  x",
        "a",
        "Hello world",
        " Hello world ",
        "Hello  world",
        "I'm you'RE she'Ll they'VE it's 'twas ſ'ſ",
        "x" * 300,
        "the" * 100,
        " " * 100 + "end",
        "12 123 1234567 ½ ² Ⅷ ٣٤٥",
        "a\u00a0b\u2003c\u3000d\u0085e\u2028f",
        "e\u0301 é A\u030a Å \u1e9b\u0323",
        "\uac00\u1100\u1161\u11a8 \ud55c\uad6d\uc5b4",
        "q\u0307\u0323 q\u0323\u0307 \u0958 \u2126 \ufb01",
        "👍🏽 👨‍👩‍👧‍👦 🇩🇪 \U0001f600",
        "\x00\x01\x7f",
        "a<|end|>b",
        "<|begin|><|begin|> hi <|end|>",
        "<tool> <tool>x</tool>",
        "x <mask>  y<mask>z",
        "wordtok wordtokx xwordtok wordtok.",
        "<|en<|end|>d|>",
        "<|pad|> <|PAD|>",
        "naïve café\r\nnaïve \u1e69o s\u0307\u0323o",
        "你好，世界 123 안녕",
        "don't can't 'tis",
        "a.b,c!d?e;f",
        "\u0301lonely",
        "--- === *** \n###\n",
        "http://x.org/a?b=c&d=%20",
        "\ufeffbom",
        "\ufffd \U0010fffd",
    ]
    source = random.Random(7)
    alphabet = list("aehtinos THE'.,!0123\n\t\r  ") + [
        "é",
        "\u0301",
        "ß",
        "я",
        "你",
        "안",
        "👍",
        "\u00a0",
        "<|end|>",
        "<tool>",
        "<mask>",
        "wordtok",
        "'s",
        "the",
        "ing",
    ]
    return picked + [
        "".join(source.choice(alphabet) for _ in range(source.randrange(1, 40))) for _ in range(60)
    ]


def train(tokenizer, vocab_size):
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(CORPUS, trainer)


def write(name, tokenizer):
    folder = HERE / name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    path.write_text(
        json.dumps(json.loads(path.read_text()), ensure_ascii=False, separators=(",", ":")) + "\n"
    )
    golden = []
    for text in texts():
        tokenizer.encode_special_tokens = False
        ids = tokenizer.encode(text).ids
        tokenizer.encode_special_tokens = True
        plain = tokenizer.encode(text, add_special_tokens=False).ids
        golden.append(
            {
                "text": text,
                "ids": ids,
                "plain_ids": plain,
                "decoded": tokenizer.decode(plain, skip_special_tokens=True),
            }
        )
    (folder / "golden.json").write_text(
        "[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in golden) + "\n]\n"
    )
    print(
        name,
        tokenizer.get_vocab_size(),
        path.stat().st_size,
        (folder / "golden.json").stat().st_size,
    )


def llama3_like():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 420)
    tokenizer.add_special_tokens(
        [
            AddedToken("<|begin|>", normalized=False),
            AddedToken("<|end|>", normalized=False),
            AddedToken("<mask>", lstrip=True, rstrip=True, normalized=False),
        ]
    )
    tokenizer.add_tokens(
        [
            AddedToken("<tool>", normalized=False),
            AddedToken("</tool>", normalized=False),
            AddedToken("wordtok", single_word=True, normalized=False),
        ]
    )
    begin = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=False),
            processors.TemplateProcessing(
                single="<|begin|> $A",
                pair="<|begin|> $A <|begin|>:1 $B:1",
                special_tokens=[("<|begin|>", begin)],
            ),
        ]
    )
    return tokenizer


def qwen2_like():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 400)
    tokenizer.add_special_tokens(
        [AddedToken("<|end|>", normalized=False), AddedToken("<|pad|>", normalized=False)]
    )
    tokenizer.add_tokens(
        [AddedToken("<tool>", normalized=True), AddedToken("\u1e69o", normalized=True)]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def gpt2_like():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=True),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, 380)
    tokenizer.add_special_tokens(["<|end|>", "<|begin|>"])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A <|end|>",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in ("<|begin|>", "<|end|>")],
    )
    return tokenizer


BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def train_on_characters(tokenizer, vocab_size, specials, limit=None):
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, show_progress=False, special_tokens=specials, limit_alphabet=limit
    )
    tokenizer.train_from_iterator(CORPUS, trainer)


def llama2_like():
    """The older form: a prefix and spaces by normalizer, no pre-tokenizer, bytes for the rest."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    # Trained with words kept apart, as SentencePiece does it.
    tokenizer.pre_tokenizer = pre_tokenizers.Split("\u2581", "merged_with_next")
    train_on_characters(tokenizer, 620, ["<unk>", "<s>", "</s>"] + BYTES, limit=60)
    # The bytes are ordinary entries of the vocabulary.
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = state["added_tokens"][:3]
    state["pre_tokenizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    return tokenizer


def metaspace_like():
    """The newer form of the same, with unknown characters and without bytes."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Strip(left=False, right=True)]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Metaspace(prepend_scheme="first", split=True),
            pre_tokenizers.Digits(individual_digits=False),
        ]
    )
    train_on_characters(tokenizer, 300, ["<unk>", "<|end|>"], limit=50)
    tokenizer.add_tokens([AddedToken("naïve", normalized=True, rstrip=True)])
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return tokenizer


def words_like():
    """Lower case, punctuation and white space apart, split by a literal; unknown ones fused."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.NFD(),
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[0-9]+"), "#"),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Whitespace(),
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.Split("th", "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[aeiou]"), "merged_with_next"),
            pre_tokenizers.Split(Regex(r"z+"), "removed"),
        ]
    )
    train_on_characters(tokenizer, 260, ["<unk>"], limit=60)
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def unigram_like(byte_fallback):
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    specials = ["<unk>", "<|end|>"] + (BYTES if byte_fallback else [])
    trainer = trainers.UnigramTrainer(
        vocab_size=300 + (256 if byte_fallback else 0),
        show_progress=False,
        special_tokens=specials,
        unk_token="<unk>",
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    state = json.loads(tokenizer.to_str())
    state["model"]["byte_fallback"] = byte_fallback
    state["added_tokens"] = state["added_tokens"][:2]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|end|>", special_tokens=[("<|end|>", 1)]
    )
    return tokenizer


MAKERS = {
    "llama3-like": llama3_like,
    "qwen2-like": qwen2_like,
    "gpt2-like": gpt2_like,
    "llama2-like": llama2_like,
    "metaspace-like": metaspace_like,
    "words-like": words_like,
    "unigram-like": lambda: unigram_like(False),
    "unigram-bytes-like": lambda: unigram_like(True),
}


def main():
    """All of them, or those named on the command line."""
    for name in sys.argv[1:] or MAKERS:
        write(name, MAKERS[name]())


if __name__ == "__main__":
    main()
