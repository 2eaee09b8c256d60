"""Hugging Face transformers' continuous batching on random weights: output tokens per second, beside `tandem bench`.

usage: PYTHON transformers_batch.py --model FOLDER --json FILE [options]     a step of cuda_speed.py; also by itself

FOLDER needs no more than a config.json. Every prompt is given to `generate_batch` at once, which batches them as it
sees fit; time counts from the first request that it makes to the end of the last one, by its own clock, so that
loading, warming up and capturing graphs are left out. Needs torch and transformers 5 or newer.
Exits 0, 1 if it failed, 2 if torch sees no device, 3 if a package is missing or too old; the last line on standard
error says what.
"""

import argparse
import dataclasses
import importlib.util
import inspect
import json
import pathlib
import random
import sys
import time

FAILED, NO_DEVICE, MISSING = 1, 2, 3
OLDEST = 5


def stop(code, text):
    print(f"transformers_batch: {text}", file=sys.stderr)
    sys.exit(code)


def require_packages():
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            stop(MISSING, f"{name} is not installed for {pathlib.Path(sys.executable).name}")
    import transformers

    if int(transformers.__version__.split(".")[0]) < OLDEST:
        stop(MISSING, f"transformers {transformers.__version__} is too old, {OLDEST}.0 or newer is needed")


def require_device(device):
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        stop(NO_DEVICE, f"torch {torch.__version__} sees no CUDA device")
    return torch.cuda.get_device_name() if device == "cuda" else "CPU"


def make_model(folder, device, flash):
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    attention = "flash_attention_2" if flash and device == "cuda" else "sdpa"
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    return model.eval()


def batching_options(concurrency, flash, device):
    """Keyword arguments that bound a batch, for a version that has them; attention that is not installed is not
    fetched from elsewhere."""
    from transformers import generation

    kind = getattr(generation, "ContinuousBatchingConfig", None)
    if kind is None:
        return {}
    wanted = {"max_requests_per_batch": concurrency, "auto_switch_to_flash": flash}
    if device == "cpu":
        wanted["max_memory_percent"] = 0.1  # else it takes most of what this machine has
    known = {field.name for field in dataclasses.fields(kind)}
    return {"continuous_batching_config": kind(**{name: wanted[name] for name in wanted if name in known})}


def seconds_of(outputs, whole):
    """From the first request made to the last one finished; `whole` where this version does not tell."""
    spans = [getattr(output, "lifespan", None) for output in outputs]
    if not all(span and span[1] > 0 for span in spans):
        return whole, "the whole call"
    return max(span[1] for span in spans) - min(output.created_time for output in outputs), "its own"


def measure(args):
    import torch
    import transformers
    from transformers.generation import GenerationConfig

    flash = importlib.util.find_spec("flash_attn") is not None
    model = make_model(args.model, args.device, flash)
    source = random.Random(args.seed)

    def generate(count, prompt_tokens, output_tokens):
        prompts = [[source.randrange(model.config.vocab_size) for _ in range(prompt_tokens)] for _ in range(count)]
        # No token ends an answer before its length: -1 is none.
        wanted = GenerationConfig(max_new_tokens=output_tokens, do_sample=False, eos_token_id=-1)
        options = batching_options(args.concurrency, flash, args.device)
        start = time.perf_counter()
        found = model.generate_batch(prompts, generation_config=wanted, progress_bar=False, **options)
        return list(found.values()), time.perf_counter() - start

    if "warmup" not in inspect.signature(model.generate_batch).parameters:
        generate(2, 16, 4)  # what the first call of all loads is not part of the measured one
    outputs, whole = generate(args.requests, args.input_tokens, args.output_tokens)
    tokens = sum(len(output.generated_tokens) for output in outputs)
    if tokens != args.requests * args.output_tokens:
        failures = {str(output.error) for output in outputs if output.error}
        wanted = args.requests * args.output_tokens
        stop(FAILED, f"{tokens} of {wanted} tokens came out{': ' if failures else ''}{'; '.join(failures)}")
    seconds, clock = seconds_of(outputs, whole)
    return {
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "attention": model.config._attn_implementation,
        "requests": args.requests,
        "concurrency": args.concurrency,
        "output_tokens": tokens,
        "seconds": seconds,
        "clock": clock,
        "whole_call_seconds": whole,
        "output_tokens_per_second": tokens / seconds,
    }


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--model", required=True, help="folder with the config.json")
    add("--json", required=True, help="where the result goes")
    add("--device", default="cuda", choices=("cuda", "cpu"))
    add("--requests", type=int, default=256)
    add("--concurrency", type=int, default=256, help="most requests in a batch, where transformers can be told")
    add("--input-tokens", type=int, default=1000)
    add("--output-tokens", type=int, default=1000)
    add("--seed", type=int, default=1)
    return parser.parse_args()


def main():
    args = arguments()
    require_packages()
    device = require_device(args.device)
    result = {"device": device} | measure(args)
    pathlib.Path(args.json).write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
