"""The steps of cuda_speed.py: each runs commands, and puts what they told into a dictionary as it comes, so that what
was told before a failure is kept. A step ends, or raises why it could not."""

import json
import os
import pathlib
import random
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

from live_service import NotStarted, Service

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
FOREVER = 36000  # seconds of virtual time: until the work is done
NO_DEVICE = re.compile(r"no device to check: [^\"]*|device: cuda: [^\"]*")
PATIENCE = 10  # seconds for a command that is told to end


class NoDevice(Exception):
    """A command came to its first GPU call and found no device."""


class Missing(Exception):
    """Something that the step needs is not there."""


class Failed(Exception):
    """The step was able to run, and did not come to its end."""


def last_line(text):
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


def raise_for(name, code, errors):
    """Nothing if `code` is 0; else the exception for a command that ended so and said `errors`."""
    if code == 0:
        return
    if refusal := NO_DEVICE.search(errors):
        raise NoDevice(f"{name}: {refusal.group().strip()}")
    raise Failed(f"{name} ended with exit code {code}: {last_line(errors)}")


class Lab:
    """What the steps work with: the arguments, a folder for what they write, and the time that is left."""

    def __init__(self, args, out):
        self.args, self.out = args, out
        self.commands = []  # of the step at hand, as they are told
        self.ends = 0.0  # of the step at hand, by time.monotonic()
        self.running = None

    def left(self):
        return self.ends - time.monotonic()

    def tell(self, text):
        print(f"cuda_speed: {text}", file=sys.stderr, flush=True)

    def note(self, command):
        """Remembers a command without the folders of this machine."""
        self.commands.append(shlex.join(self.without_folders(str(part)) for part in command))

    def without_folders(self, word):
        """A word of a command; of places that hold it the innermost counts."""
        model, python = self.args.model, self.args.python
        places = {str(self.out): "OUT", str(ROOT): ".", str(model): model.name, str(python): "python3"}
        for place in sorted(places, key=len, reverse=True):
            if word == place or word.startswith(place + "/"):
                return places[place] + word[len(place) :]
        return word

    def run(self, name, command):
        """Runs a command for as long as the step may take. Returns its exit code, standard output and standard
        error; both are kept as files. Raises Failed if it has to be ended."""
        self.note(command)
        logs = [self.out / f"{name}.{kind}" for kind in ("out", "err")]
        with open(logs[0], "wb") as out, open(logs[1], "wb") as err:
            # A session of its own: what it starts is ended with it.
            self.running = subprocess.Popen(
                [str(part) for part in command], stdout=out, stderr=err, start_new_session=True
            )
            try:
                code = self.running.wait(max(0.1, self.left()))
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self.end()
        texts = [log.read_text(errors="replace") for log in logs]
        if code is None:
            raise Failed(f"{name} was ended: the step's time was over")
        return code, *texts

    def end(self):
        """Ends the command that runs, if one does."""
        process, self.running = self.running, None
        for how in (signal.SIGINT, signal.SIGKILL):
            if process is None or process.poll() is not None:
                return
            os.killpg(process.pid, how)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass


# ---- gpu_check ---------------------------------------------------------------------------------


def gpu_check(lab, found):
    """found[shape]: gpu_check's JSON. What it had written is kept when it fails or is ended."""
    run_gpu_check(lab, found, "gpu_check", lab.args.checks.split(), [])


def dependent(lab, found):
    """found[shape]: likewise, of decodes whose kernels begin while the one before ends."""
    run_gpu_check(lab, found, "dependent", ["decode"], ["--kernel-launch", "dependent"])


def run_gpu_check(lab, found, step, checks, options):
    failures = []
    for shape in lab.args.shapes.split(","):
        file = lab.out / f"{step}-{shape}.json"
        file.unlink(missing_ok=True)
        command = [lab.args.gpu_check, "--json", file, "--shape", shape, *options]
        if "gemm-tune" in checks or "all" in checks or tuning_file(lab, shape).exists():
            command += ["--tuning", tuning_file(lab, shape)]
        lab.tell(f"{step}: {shape}: {' '.join(checks)}")
        try:
            code, _, errors = lab.run(f"{step}-{shape}", [*command, *checks])
        except Failed as ended:
            raise Failed("; ".join([*failures, str(ended)])) from None
        finally:
            if file.exists():
                found[shape] = json.loads(file.read_text())
        failed = [one["name"] for one in found.get(shape, {}).get("lines", []) if not one.get("passed", True)]
        try:
            if failed:
                raise Failed(f"{len(failed)} checks failed, the first: {failed[0]}")
            raise_for("gpu_check", code, errors)
        except Failed as failure:
            failures.append(f"{shape}: {failure}")
    if failures:
        raise Failed("; ".join(failures))


def tuning_file(lab, shape):
    return lab.out / f"gemm_tuning-{shape}.txt"


# ---- the service, and load on it ---------------------------------------------------------------


def engine_options(lab):
    """What `serve` and `profile` have in common, so that a profile is of what is served."""
    args = lab.args
    options = ["--device", args.device, "--max-iteration-tokens", args.max_iteration_tokens]
    options += ["--max-sequences", args.concurrency, "--max-context", args.max_context]
    tuning = tuning_file(lab, args.model.name)
    if args.device == "cuda" and tuning.exists():
        options += ["--gemm-tuning-file", tuning]
    return [str(option) for option in options] + shlex.split(args.engine)


def write_trace(file, arrivals, args):
    """Calls of the workload's lengths at `arrivals`, in seconds."""
    rows = [f"{at:.6f},{args.input_tokens},{args.output_tokens}" for at in arrivals]
    file.write_text("\n".join(["arrival,prompt_tokens,output_tokens", *rows]) + "\n")
    return len(rows)


def load(lab, service, name, arrivals, concurrency, seed):
    """One `tandem bench` on a trace. Returns what the client and the service's counters say of it."""
    trace, file = lab.out / f"{name}.csv", lab.out / f"bench-{name}.json"
    count = write_trace(trace, arrivals, lab.args)
    # Random weights come without a tokenizer: tokens are seen by their log-probabilities alone.
    command = [lab.args.tandem, "bench", "--url", service.url, "--trace", trace, "--num-requests", count]
    command += ["--max-concurrency", concurrency, "--every-token", "--seed", seed, "--json", file]
    lab.tell(f"serve: {name}: {count} requests")
    file.unlink(missing_ok=True)
    before, start = service.metrics(), time.monotonic()
    try:
        code, _, errors = lab.run(f"bench-{name}", command)
    except Failed as ended:
        done = json.loads(file.read_text())["online"]["completed"] if file.exists() else 0
        raise Failed(f"{ended}; {done} of {count} requests had been answered") from None
    seconds, after = time.monotonic() - start, service.metrics()
    raise_for(f"bench ({name})", code, errors)
    online = json.loads(file.read_text())["online"]
    grown = {key: after[key] - before.get(key, 0.0) for key in after}
    return {
        "requests": count,
        "completed": online["completed"],
        "output_tokens_per_second": online["output_tokens_per_second"],
        "requests_per_second": online["requests_per_second"],
        "ttft_ms_p99": online["ttft_ms"]["p99"],
        "tbt_ms_mean": online["tbt_ms"]["mean"],
        "tbt_ms_p99": online["tbt_ms"]["p99"],
        "iterations": int(grown["tandem_iteration_seconds_count"]),
        "in_hand_share": grown["tandem_iteration_seconds_sum"] / seconds,
        "scheduler_host_seconds": grown["tandem_scheduler_host_seconds_sum"],
        "preemptions": int(grown["tandem_num_preemptions_total"]),
    }


def serve(lab, found):
    """found: `saturated`, `open` and `single` loads, and what the simulator has to know of the service."""
    args = lab.args
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch:
        options, start = engine_options(lab), time.monotonic()
        lab.note([args.tandem, "serve", "--model", args.model, "--load-format", "dummy", *options])
        try:
            service = Service(args.tandem, pathlib.Path(scratch), args.model, options, lab.left())
        except NotStarted as refused:
            if refused.exit_code is None:
                raise Failed("the service did not start within the step's time") from None
            raise_for("serve", refused.exit_code, refused.log)
            raise Failed("the service ended") from None
        try:
            metrics = service.metrics()
            found["start_seconds"] = time.monotonic() - start
            found["kv_tokens"] = int(metrics["tandem_kv_blocks"] * metrics["tandem_kv_block_tokens"])
            found["concurrency"] = args.concurrency
            load(lab, service, "warm", [0.0] * 2, 2, seed=1)
            saturated = load(lab, service, "saturated", [0.0] * args.requests, args.concurrency, seed=2)
            found["saturated"] = saturated
            rate = args.load * saturated["requests_per_second"]
            found["open"] = load(lab, service, "open", poisson(rate, args.open_seconds), 1024, seed=3)
            found["open"]["rate"] = rate
            found["single"] = load(lab, service, "single", [0.0], 1, seed=4)
        finally:
            (lab.out / "serve.log").write_bytes(service.log_file.read_bytes())
            service.stop()


def poisson(rate, seconds):
    """Arrivals at `rate` per second, the same for equal arguments; at least one."""
    source, at, arrivals = random.Random(1), 0.0, [0.0]
    while (at := at + source.expovariate(rate)) < seconds:
        arrivals.append(at)
    return arrivals


# ---- beside it, and before it ------------------------------------------------------------------


def transformers(lab, found):
    """found: as bench/transformers_batch.py writes it."""
    args, file = lab.args, lab.out / "transformers.json"
    command = [args.python, HERE / "transformers_batch.py", "--model", args.model, "--json", file]
    command += ["--device", "cuda" if args.device == "cuda" else "cpu", "--requests", args.requests]
    command += ["--concurrency", args.concurrency]
    command += ["--input-tokens", args.input_tokens, "--output-tokens", args.output_tokens]
    lab.tell(f"transformers: {args.requests} requests")
    code, _, errors = lab.run("transformers", command)
    if code == 2:
        raise NoDevice(last_line(errors))
    if code == 3:
        raise Missing(last_line(errors))
    raise_for("transformers", code, errors)
    found.update(json.loads(file.read_text()))


def unseen_error(text):
    """Of `tandem profile`'s table: (MAPE in percent, iterations) over all that were not used for the fit."""
    row = re.search(r"^all +(\d+) +([\d.]+)%", text, re.MULTILINE)
    if row is None:
        raise Failed("tandem profile told no error over all iterations")
    return float(row.group(2)), int(row.group(1))


def profile(lab, found):
    """found: `mape_percent` over `unseen` iterations, and the profile's name."""
    file = lab.out / "profile.yaml"
    command = [lab.args.tandem, "profile", "--model", lab.args.model, "--load-format", "dummy"]
    command += [*engine_options(lab), "--seconds", lab.args.profile_seconds, "--output", file]
    lab.tell(f"profile: {lab.args.profile_seconds:.0f} s of iterations")
    code, text, errors = lab.run("profile", command)
    raise_for("profile", code, errors)
    found["mape_percent"], found["unseen"] = unseen_error(text)
    found["file"] = file.name


def simulate(lab, found, results):
    """found: for each load that `serve` has measured, what is simulated beside it. Needs no device."""
    args = lab.args
    for step, told in (("profile", "file"), ("serve", "saturated")):
        if told not in results.get(step, {}).get("found", {}):
            raise Missing(f"it needs what `{step}` finds on the device")
    service = results["serve"]["found"]
    quantum = args.row_quantum or (128 if args.device == "cuda" else 1)
    for name in ("saturated", "open"):
        if name not in service:
            raise Missing(f"`serve` has not measured the load `{name}`")
        file = lab.out / f"simulate-{name}.json"
        command = [args.tandem, "simulate", "--profile", lab.out / results["profile"]["found"]["file"]]
        command += ["--model", args.model, "--kv-tokens", service["kv_tokens"], "--row-quantum", quantum]
        command += ["--max-iteration-tokens", args.max_iteration_tokens, "--max-sequences", args.concurrency]
        command += ["--policy", "online_only", "--offline-items", 0, "--trace", lab.out / f"{name}.csv"]
        lab.tell(f"simulate: {name}")
        code, _, errors = lab.run(f"simulate-{name}", [*command, "--duration", FOREVER, "--json", file])
        raise_for("simulate", code, errors)
        told = json.loads(file.read_text())["policies"][0]
        if told["online"]["finished"] != service[name]["completed"]:
            raise Failed(f"{name}: {told['online']['finished']} simulated requests ended")
        simulated = {
            "output_tokens_per_second": told["online"]["finished"] * args.output_tokens / told["end_seconds"],
            "tbt_ms_p99": told["tbt_ms"]["p99"],
        }
        found[name] = {"simulated": simulated, "measured": {key: service[name][key] for key in simulated}}
