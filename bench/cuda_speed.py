"""What has to be measured on a GPU, in one call: gpu_check, the service under load, transformers beside it, the
latency predictor, and the simulator against the service. Writes one JSON and a Markdown table of goals and figures.

usage: cuda_speed.py --out DIR [--steps STEP,…] [options]

  gpu_check     whole iterations, launches and preemption on the bare engine, for each of --shapes
  serve         `tandem serve` on random weights: `tandem bench` at saturation, with Poisson arrivals, one at a time
  transformers  Hugging Face transformers' continuous batching on the same shape and lengths
  profile       `tandem profile`: the error of the latency predictor on iterations that it has not seen
  simulate      `tandem simulate` with that profile on the loads that serve has measured; takes no device
  dependent     decodes on the bare engine once more, with `kernel_launch: dependent`

Steps run in this order, each within its own limit and all within --minutes; one that fails stops no other. A later
call with the same DIR, on the same machine, version and workload, keeps what other steps found. Every step is
attempted: on a machine without a GPU each says what its first GPU call said. With --device host the service's steps
run on the CPU.
Exits 0, 1 if a step failed, 2 if one found no device, 130 if it was interrupted. Standard library only; transformers
and torch are needed by that step alone.
"""

import argparse
import datetime
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import cuda_speed_steps as steps
from cuda_speed_table import fragment

ROOT = steps.ROOT
# Seconds.
LIMITS = {"gpu_check": 280, "serve": 160, "transformers": 130, "profile": 60, "simulate": 30, "dependent": 60}
NEEDS_GPU = ("gpu_check", "transformers", "dependent")  # left out with --device host, unless they are asked for
LEAST_SECONDS = 5  # or a step is not begun
DONE, NO_DEVICE, MISSING, FAILED = "done", "no device", "missing", "failed"
LEFT_OUT, INTERRUPTED = "left out", "interrupted"


def program(name, *places):
    """Where a program lies in a bundle, or else in a build; the last place if it is in none."""
    files = [ROOT / "bin" / name, *(ROOT / "build" / "release" / place for place in places)]
    return next((file for file in files if file.exists()), files[-1])


def said_by(command, cwd=None):
    """What a command says; empty if it cannot be run or fails."""
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, cwd=cwd, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def revision():
    """Of the sources that this file lies in; a bundle has it in a file."""
    if (ROOT / "REVISION").exists():
        return (ROOT / "REVISION").read_text().strip()
    return said_by(["git", "describe", "--always", "--dirty", "--abbrev=12"], cwd=ROOT) or "unknown"


def describe_machine(args):
    """What figures belong to."""
    asked = ""
    if shutil.which("nvidia-smi"):
        asked = said_by(["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader", "--id=0"])
    gpu, _, driver = asked.partition(", ")
    models = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    version = said_by([args.tandem, "version"]).splitlines()
    return {
        "gpu": gpu if args.device == "cuda" else "",
        "driver": driver if args.device == "cuda" else "",
        "cpu": f"{len(models)} cores of {models[0].partition(': ')[2]}" if models else "unknown CPU",
        "version": version[0] if version else "tandem unknown",
        "revision": revision(),
    }


def workload_text(args):
    """What the figures of one table have in common."""
    return (
        f"Shape of {args.model.name}, random weights, on the {'GPU' if args.device == 'cuda' else 'CPU'}; prompts of "
        f"{args.input_tokens:,} random tokens, answers of {args.output_tokens:,}; iterations of up to "
        f"{args.max_iteration_tokens:,} tokens and {args.concurrency} sequences; at saturation "
        f"{args.requests} requests."
    )


def earlier(file, machine, workload):
    """What earlier calls found on this machine with this version and workload: one table is of one workload."""
    if not file.exists():
        return {}
    try:
        kept = json.loads(file.read_text())
        if kept["machine"] == machine and kept["workload"] == workload:
            return kept["steps"]
        left = "is of another machine, version or workload; left behind: " + ", ".join(kept["steps"])
    except (ValueError, KeyError, TypeError):
        left = "cannot be read and is left behind"
    print(f"cuda_speed: {file} {left}", file=sys.stderr)
    return {}


def run_step(lab, name, results, whole_ends):
    """Runs one step; returns its entry in the results."""
    limit = min(getattr(lab.args, f"limit_{name}"), whole_ends - time.monotonic())
    entry = {"status": DONE, "reason": "", "began": utc_now(), "seconds": 0.0, "commands": [], "found": {}}
    if limit < LEAST_SECONDS:
        return entry | {"status": LEFT_OUT, "reason": "the time of --minutes was over"}
    lab.tell(f"{name}: begins, at most {limit:.0f} s")
    start = time.monotonic()
    lab.ends, lab.commands = start + limit, entry["commands"]
    try:
        work = getattr(steps, name)
        work(lab, entry["found"], results) if name == "simulate" else work(lab, entry["found"])
    except steps.NoDevice as reason:
        entry |= {"status": NO_DEVICE, "reason": str(reason)}
    except steps.Missing as reason:
        entry |= {"status": MISSING, "reason": str(reason)}
    except steps.Failed as reason:
        entry |= {"status": FAILED, "reason": str(reason)}
    except KeyboardInterrupt:
        entry |= {"status": INTERRUPTED, "reason": "it was interrupted"}
    except Exception as problem:  # one step's mistake is not the end of the others
        entry |= {"status": FAILED, "reason": f"{type(problem).__name__}: {problem}"}
    entry["seconds"] = time.monotonic() - start
    return entry


def utc_now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def told(name, entry):
    """One line on how a step went."""
    if entry["status"] == DONE:
        return f"{name}: done in {entry['seconds']:.0f} s"
    if entry["status"] == NO_DEVICE:
        return f"{name}: stopped at its first GPU call: {entry['reason']}"
    return f"{name}: {entry['status']}: {entry['reason']}"


def write_results(out, machine, args, results):
    arguments = {key: str(value) if isinstance(value, pathlib.Path) else value for key, value in vars(args).items()}
    results = {name: results[name] for name in LIMITS if name in results}
    workload = workload_text(args)
    whole = {"machine": machine, "workload": workload, "arguments": arguments, "steps": results}
    # Whoever ends this program finds the file whole, as it is or as it was.
    unfinished = out / "cuda_speed.json.new"
    unfinished.write_text(json.dumps(whole, indent=1) + "\n")
    unfinished.replace(out / "cuda_speed.json")
    (out / "fragment.md").write_text(fragment(machine, workload, results))


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage=argparse.SUPPRESS
    )
    add = parser.add_argument
    add("--out", type=pathlib.Path, required=True, help="folder for everything that is written")
    add("--steps", help=f"of {','.join(LIMITS)}; default: all; with host those of the service")
    add("--device", choices=("cuda", "host"), default="cuda")
    add("--minutes", type=float, default=9, help="for all steps together")
    for name, seconds in LIMITS.items():
        flag = "--limit-" + name.replace("_", "-")
        add(flag, type=float, default=seconds, help=f"seconds for {name}, default {seconds}")
    add("--model", type=pathlib.Path, default=ROOT / "config" / "models" / "llama-3.1-8b", help="folder; its shape")
    add("--shapes", default="llama-3.1-8b", help="of gpu_check, the goals' first: also llama-3.2-1b, qwen3-0.6b")
    add("--checks", default="gemm-tune decode prefill preempt", help="gpu_check's commands; `all` takes longer")
    add("--requests", type=int, default=256, help="at saturation")
    add("--concurrency", type=int, default=256, help="requests in flight at saturation, and sequences that run")
    add("--input-tokens", type=int, default=1000)
    add("--output-tokens", type=int, default=1000)
    add("--load", type=float, default=0.7, help="of Poisson arrivals, as a share of the saturated rate")
    add("--open-seconds", type=float, default=20, help="of Poisson arrivals")
    add("--max-iteration-tokens", type=int, default=2048, help="as of serve")
    add("--max-context", type=int, default=8192, help="as of serve")
    add("--row-quantum", type=int, default=0, help="as of simulate; default: 128, of host 1")
    add("--engine", default="", help="further options of serve and profile, as one text")
    add("--profile-seconds", type=float, default=25, help="of iterations")
    add("--python", default=sys.executable, help="the interpreter that has torch and transformers")
    add("--tandem", type=pathlib.Path, default=program("tandem", "tandem"))
    add("--gpu-check", type=pathlib.Path, default=program("gpu_check", "bench/gpu_check"))
    args = parser.parse_args()
    all_steps = [name for name in LIMITS if args.device == "cuda" or name not in NEEDS_GPU]
    wanted = args.steps.split(",") if args.steps else all_steps
    for name in wanted:
        if name not in LIMITS:
            parser.error(f"--steps: {name!r} is not one of {', '.join(LIMITS)}")
    args.steps = [name for name in LIMITS if name in wanted]
    args.model = args.model.resolve()
    return args


def interrupt(_signal, _frame):
    raise KeyboardInterrupt


def main():
    args = arguments()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    machine = describe_machine(args)
    results = earlier(out / "cuda_speed.json", machine, workload_text(args))
    lab = steps.Lab(args, out)
    signal.signal(signal.SIGTERM, interrupt)  # as Ctrl-C: commands that run are ended, what was found stays
    whole_ends = time.monotonic() + 60 * args.minutes
    for name in args.steps:
        results.pop(name, None)
        results[name] = run_step(lab, name, results, whole_ends)
        lab.tell(told(name, results[name]))
        write_results(out, machine, args, results)
        if results[name]["status"] == INTERRUPTED:
            return 130
    print((out / "fragment.md").read_text(), end="")
    entries = [results[name] for name in args.steps]
    done = sum(entry["status"] == DONE for entry in entries)
    lab.tell(f"{done} of {len(entries)} steps done; everything is in {args.out}/cuda_speed.json and fragment.md")
    for name in args.steps:
        if results[name]["status"] != DONE:
            lab.tell("  " + told(name, results[name]))
    statuses = {entry["status"] for entry in entries}
    return 2 if NO_DEVICE in statuses else 1 if statuses & {FAILED, LEFT_OUT} else 0


if __name__ == "__main__":
    sys.exit(main())
