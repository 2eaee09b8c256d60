#!/usr/bin/env python3
"""Writes the tiny random models of this folder and what Hugging Face transformers computes for them.

Each folder under models/ is a Hugging Face model folder (config.json, *.safetensors) with a
golden.json (prompt) and a golden_logits.bin (f32, little-endian, (positions, vocab)). Stored 16-bit
weights are upcast to f32 before the forward pass. Needs torch, transformers and safetensors; run
by hand when a model is added: python3 tests/golden/make_models.py
"""

import json
import pathlib
import shutil

import torch
import transformers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

HERE = pathlib.Path(__file__).parent / "models"


def common(**overrides):
    """Sizes that all models share unless they say otherwise."""
    sizes = dict(
        hidden_size=48,
        intermediate_size=72,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=160,
        max_position_embeddings=256,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        attn_implementation="eager",
    )
    return sizes | overrides


def randomize(model, seed):
    """Weights large enough that logits are of order 1 to 10 and every part of a layer matters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape):
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("norm.weight"):
                weight.copy_(1.0 + 0.2 * draw(weight.shape))
            elif name.endswith("bias"):
                weight.copy_(0.3 * draw(weight.shape))
            elif "embed_tokens" in name or "lm_head" in name:
                weight.copy_(draw(weight.shape) * 2.0 / weight.shape[1] ** 0.5)
            else:
                weight.copy_(draw(weight.shape) * 1.5 / weight.shape[1] ** 0.5)


def write(
    name,
    config,
    model_class,
    *,
    seed,
    dtype=torch.float32,
    shards=1,
    prompt_length=40,
    old_keys=False,
):
    """One folder. `old_keys`: config.json in the form that transformers wrote before version 5."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    model = model_class(config).eval()
    randomize(model, seed)
    model = model.to(dtype)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 4096 if shards > 1 else "1GB")
    if old_keys:
        rewrite_with_old_keys(folder / "config.json")
    (folder / "generation_config.json").unlink(missing_ok=True)
    for path in folder.iterdir():
        path.chmod(0o644)

    generator = torch.Generator().manual_seed(seed + 1)
    prompt = torch.randint(3, config.vocab_size, (prompt_length,), generator=generator)
    prompt[0] = 1
    # Loaded anew: a model that was cast to 16 bits has cast its rotation frequencies too.
    stored = model_class.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        logits = stored.eval()(prompt[None]).logits[0].float()
    (folder / "golden.json").write_text(
        json.dumps(
            {
                "transformers": transformers.__version__,
                "prompt": prompt.tolist(),
                "positions": prompt_length,
                "vocab": config.vocab_size,
            }
        )
        + "\n"
    )
    logits.contiguous().numpy().astype("<f4").tofile(folder / "golden_logits.bin")
    print(
        f"{name}: {size} bytes of weights, logits std {logits.std():.2f} "
        f"max {logits.abs().max():.2f}, {sorted(p.name for p in folder.iterdir())}"
    )


def rewrite_with_old_keys(path):
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = None
    if rope["rope_type"] != "default":
        config["rope_scaling"] = {"type": rope.pop("rope_type"), **rope}
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2) + "\n")


def main():
    torch.set_num_threads(1)
    write(
        "llama-llama3-rope",
        LlamaConfig(
            **common(
                rope_parameters={
                    "rope_type": "llama3",
                    "rope_theta": 5000.0,
                    "factor": 4.0,
                    "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 64,
                }
            )
        ),
        LlamaForCausalLM,
        seed=1,
        dtype=torch.bfloat16,
        shards=3,
        prompt_length=70,
    )
    write(
        "llama-linear-tied",
        LlamaConfig(
            **common(
                num_key_value_heads=1,
                hidden_size=32,
                head_dim=16,
                tie_word_embeddings=True,
                rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
            )
        ),
        LlamaForCausalLM,
        seed=2,
        old_keys=True,
    )
    write(
        "mistral",
        MistralConfig(
            **common(
                num_hidden_layers=3,
                head_dim=8,
                vocab_size=203,
                sliding_window=None,
                rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
            )
        ),
        MistralForCausalLM,
        seed=3,
        dtype=torch.float16,
    )
    write(
        "qwen2",
        Qwen2Config(
            **common(
                hidden_size=56,
                num_attention_heads=7,
                num_key_value_heads=1,
                vocab_size=171,
                tie_word_embeddings=True,
                rms_norm_eps=1e-6,
            )
        ),
        Qwen2ForCausalLM,
        seed=4,
        dtype=torch.bfloat16,
    )
    write(
        "qwen3",
        Qwen3Config(
            **common(
                hidden_size=32,
                num_attention_heads=3,
                num_key_value_heads=3,
                head_dim=24,
                rms_norm_eps=1e-6,
            )
        ),
        Qwen3ForCausalLM,
        seed=5,
    )


if __name__ == "__main__":
    main()
