#!/usr/bin/env python3
"""Trains the demo model that ships with Tandem, and writes it as a Hugging Face folder.

Run once by hand; building Tandem does not need it. Needs torch, transformers and tokenizers:
    python3 examples/demo_model/train.py --out examples/demo_model/model
The text comes from corpus.py. Steps are bounded by --minutes as well; the learning rate follows
the share of time that has passed, so that a slower machine ends with a finished, if weaker, model.
"""

import argparse
import json
import math
import pathlib
import random
import time

import tokenizers
import torch
import transformers

import corpus

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")


def train_tokenizer(texts, vocab_size):
    """Byte-level BPE in GPT-2's manner; the ChatML marks take the ids 0, 1 and 2."""
    bpe = tokenizers.Tokenizer(tokenizers.models.BPE())
    bpe.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bpe.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False,
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet())
    bpe.train_from_iterator(texts, trainer)
    return bpe


def rows(seed, bpe, topics, length):
    """Endless rows of `length + 1` token ids, each beginning at the start of a text."""
    rng = random.Random(seed)
    while True:
        row = []
        while len(row) <= length:
            texts = [corpus.document(rng, topics) for _ in range(8)]
            for encoding in bpe.encode_batch(texts):
                row += encoding.ids
        yield row[:length + 1]


def batches(seed, bpe, topics, length, tokens):
    source = rows(seed, bpe, topics, length)
    while True:
        yield torch.tensor([next(source) for _ in range(max(1, tokens // length))])


def loss_of(model, batch):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=batch[:, :-1]).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())


def learning_rate(share, peak):
    if share < 0.03:
        return peak * share / 0.03
    return peak * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (share - 0.03) / 0.97)))


def train(args, model, bpe, topics):
    """Rows of 256 tokens, and every third step of 1024, so that it learns to look far back."""
    matrices = [p for name, p in model.named_parameters() if p.dim() > 1 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() == 1 or "embed" in name]
    optimizers = [torch.optim.Muon(matrices, lr=args.peak, weight_decay=0.01, momentum=0.95),
                  torch.optim.AdamW(others, lr=args.peak, betas=(0.9, 0.98), weight_decay=0.0)]
    peaks = [args.peak_matrices, args.peak]
    short = batches(args.seed, bpe, topics, 256, args.tokens)
    long = batches(args.seed + 1, bpe, topics, 1024, args.tokens)
    start, seen, smooth, step = time.monotonic(), 0, None, 0
    while True:
        elapsed = time.monotonic() - start
        share = max(step / args.steps, elapsed / (args.minutes * 60))
        if share >= 1:
            break
        for optimizer, peak in zip(optimizers, peaks):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(share, peak)
        batch = next(long if step % 3 == 2 else short)
        loss = loss_of(model, batch)
        model.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        seen += batch.numel()
        smooth = loss.item() if smooth is None else 0.95 * smooth + 0.05 * loss.item()
        step += 1
        if step % 50 == 0:
            print(f"step {step} share {share:.2f} tokens {seen} loss {smooth:.3f} "
                  f"tokens_per_s {seen / elapsed:.0f}", flush=True)
    model.eval()
    unseen = batches(args.seed + 2, bpe, topics, 1024, 8192)
    with torch.no_grad():
        held = sum(loss_of(model, next(unseen)).item() for _ in range(4)) / 4
    print(f"done steps {step} tokens {seen} minutes {elapsed / 60:.1f} unseen_loss {held:.3f}")


def write(model, bpe, out):
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out, safe_serialization=True)
    bpe.save(str(out / "tokenizer.json"), pretty=False)
    ids = {name: bpe.token_to_id(name) for name in SPECIAL}
    added = {str(ids[name]): {"content": name, "lstrip": False, "normalized": False,
                              "rstrip": False, "single_word": False, "special": True}
             for name in SPECIAL}
    (out / "tokenizer_config.json").write_text(json.dumps({
        "add_bos_token": False, "added_tokens_decoder": added, "bos_token": None,
        "chat_template": CHAT_TEMPLATE, "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>", "model_max_length": model.config.max_position_embeddings,
        "pad_token": "<|endoftext|>", "tokenizer_class": "PreTrainedTokenizerFast",
        "unk_token": None}, indent=2) + "\n")
    (out / "generation_config.json").write_text(json.dumps({
        "eos_token_id": [ids["<|im_end|>"], ids["<|endoftext|>"]],
        "pad_token_id": ids["<|endoftext|>"], "do_sample": True, "temperature": 0.7,
        "top_p": 0.95}, indent=2) + "\n")
    config = json.loads((out / "config.json").read_text())
    config.update(torch_dtype="bfloat16", rope_theta=10000.0)  # the names older readers look for
    (out / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=20261121)
    parser.add_argument("--minutes", type=float, default=17)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--tokens", type=int, default=3072, help="tokens of one step")
    parser.add_argument("--vocab", type=int, default=1536)
    parser.add_argument("--peak", type=float, default=4e-3, help="highest rate of AdamW")
    parser.add_argument("--peak-matrices", type=float, default=0.02, help="highest rate of Muon")
    parser.add_argument("--resume", type=pathlib.Path, help="go on from this folder's weights")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    topics = corpus.load_topics()
    if args.resume:
        bpe = tokenizers.Tokenizer.from_file(str(args.resume / "tokenizer.json"))
        model = transformers.LlamaForCausalLM.from_pretrained(args.resume, dtype=torch.float32)
    else:
        bpe, model = fresh(args, topics)
    print(f"parameters {sum(p.numel() for p in model.parameters())} vocab {bpe.get_vocab_size()}")
    train(args, model, bpe, topics)
    write(model, bpe, args.out)


def fresh(args, topics):
    """A tokenizer trained on 8000 texts, and a model of 2.66 million random parameters."""
    rng = random.Random(args.seed)
    bpe = train_tokenizer((corpus.document(rng, topics) for _ in range(8000)), args.vocab)
    ids = {name: bpe.token_to_id(name) for name in SPECIAL}
    config = transformers.LlamaConfig(
        vocab_size=bpe.get_vocab_size(), hidden_size=192, intermediate_size=512,
        num_hidden_layers=6, num_attention_heads=6, num_key_value_heads=2, head_dim=32,
        max_position_embeddings=2048, rms_norm_eps=1e-5, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=[ids["<|im_end|>"], ids["<|endoftext|>"]],
        pad_token_id=ids["<|endoftext|>"])
    return bpe, transformers.LlamaForCausalLM(config)


if __name__ == "__main__":
    main()
