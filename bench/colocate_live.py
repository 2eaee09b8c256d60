"""Every scheduling policy on one live service and one workload: an online trace beside an offline set.

usage: colocate_live.py TANDEM --trace FILE --offline-trace FILE [options]

For each policy the service is started anew on a model of random weights, warmed up, and `tandem replay` plays
the same segment of the trace against it beside an offline set that does not run out. What the device computed
is read from /metrics; what online calls felt is the client's. The ceiling is the offline set alone, its
steady state without start and end. Objectives are what online_only felt plus the tolerance; hygen is told
them in milliseconds. Standard output is one table; --json has everything. Standard library only.
"""

import argparse
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import threading
import time

from live_service import Service

# About 110 M parameters: small enough for a CPU, large enough that the device is what takes the time.
MODEL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 768,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_key_value_heads": 12,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
}
POLICIES = ["online_only", "offline_only", "online_first", "fixed_rate", "hygen"]
STATISTICS = ["ttft_mean", "ttft_p99", "tbt_mean", "tbt_p99"]
ITEMS_PER_SECOND = 8  # of the offline set, for each second of a run: more than a CPU finishes
SERIES = {
    "online": 'tandem_computed_tokens_total{class="online"}',
    "offline": 'tandem_computed_tokens_total{class="offline"}',
    "recomputed": "tandem_recomputed_tokens_total",
    "busy": "tandem_iteration_seconds_sum",
}


def counters(service):
    """What the device has done since the start, and when it was asked."""
    values = service.metrics()
    return {"at": time.monotonic()} | {name: values.get(series, 0.0) for name, series in SERIES.items()}


class Sampler(threading.Thread):
    """Reads the counters once a second, for rates over any part of a run."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service = service
        self.samples = [counters(service)]
        self.ended = threading.Event()

    def run(self):
        while not self.ended.wait(1):
            self.samples.append(counters(self.service))

    def rates(self, begin, end):
        """Per second, between `begin` and `end` seconds after the first sample."""
        start = self.samples[0]["at"]
        inside = [s for s in self.samples if begin <= s["at"] - start <= end]
        first, last = inside[0], inside[-1]
        seconds = last["at"] - first["at"]
        return {name: (last[name] - first[name]) / seconds for name in SERIES} | {"seconds": seconds}


def replay(args, service, folder, *, online, offline, seconds, start):
    """One run of `tandem replay`; returns its JSON."""
    result = folder / "replay.json"
    command = [args.client or args.tandem, "replay", "--url", service.url, "--json", result, "--seed", args.seed]
    if online:
        command += ["--trace", args.trace, "--start", start, "--window", seconds, "--keep", args.keep]
        command += ["--prompt-scale", args.scale, "--output-scale", args.scale, "--drop-too-long"]
        command += ["--every-token"]
    if offline:
        items = min(50000, 200 + int(ITEMS_PER_SECOND * seconds))
        command += ["--offline-trace", args.offline_trace, "--offline-items", items]
        command += ["--offline-prompt-scale", args.scale, "--offline-output-scale", args.scale]
        command += ["--offline-drop-too-long"]
        command += ["--end-with-online"] if online else ["--run-seconds", seconds]
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True)
    if not result.exists():
        sys.exit(f"replay failed with exit code {done.returncode}:\n{done.stdout}")
    measured = json.loads(result.read_text())
    if offline and measured["offline"]["completed"] == measured["offline"]["total"]:
        sys.exit("the offline set ran dry; ITEMS_PER_SECOND is too low for this machine")
    return measured


def options_of(policy, args, limits):
    """The options of serve that make `policy`."""
    options = ["--scheduling-policy", policy, "--kv-cache-bytes", "1GiB", *shlex.split(args.serve)]
    if policy == "fixed_rate":
        options += ["--offline-tokens-per-second", args.fixed_rate]
    if policy == "hygen":
        for name, limit in limits.items():
            options += ["--slo-" + name.replace("_", "-"), f"{limit:.3f}ms"]
    return options


def felt(result):
    """The statistics of a replay, in milliseconds."""
    online = result["online"]
    values = {}
    for name in ("ttft", "tbt"):
        for statistic in ("mean", "p50", "p99"):
            values[f"{name}_{statistic}"] = online[name + "_ms"][statistic]
    return values


def measure(policy, args, folder, limits):
    """Runs one policy; returns what it came to."""
    online, offline = policy != "offline_only", policy != "online_only"
    seconds = args.seconds if online else args.ceiling_seconds
    folder.mkdir()
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text(json.dumps(MODEL))
    offered = policy in args.offered
    started_as = policy if offered else "online_first"  # without online calls, it is offline alone
    service = Service(args.tandem, folder, model, options_of(started_as, args, limits))
    try:
        if args.warm_up_seconds > 0:
            warm_up_start = args.start + args.seconds  # calls that the measured run does not hold
            seconds_of = {"seconds": args.warm_up_seconds, "start": warm_up_start}
            replay(args, service, folder, online=online, offline=offline, **seconds_of)
        sampler = Sampler(service)
        sampler.start()
        result = replay(args, service, folder, online=online, offline=offline, seconds=seconds, start=args.start)
        sampler.ended.set()
        sampler.join()
    finally:
        service.stop()
    # The start, where the first items' prompts crowd, is not steady; online runs are taken whole.
    begin = 0 if online else min(20, seconds / 4)
    rates = sampler.rates(begin, seconds)
    measured = {"policy": policy, "rates": rates, "replay": result, "served_as": started_as}
    if online:
        measured["felt"] = felt(result)
    return measured


def table(runs, limits, ceiling):
    """One line per policy, as Markdown."""
    heads = ["policy", "TTFT mean", "p50", "p99", "TBT mean", "p50", "p99", "objectives met"]
    heads += ["online tokens/s", "offline tokens/s", "total", "offline / ceiling", "recomputed tokens/s"]
    heads += ["device busy"]
    rows = [heads, ["---"] * len(heads)]
    for run in runs:
        rates = run["rates"]
        row = [run["policy"]]
        if "felt" in run:
            names = ["ttft_mean", "ttft_p50", "ttft_p99", "tbt_mean", "tbt_p50", "tbt_p99"]
            row += [f"{run['felt'][name]:.1f}" for name in names]
            met = sum(run["felt"][name] <= limit for name, limit in limits.items())
            row += [f"{met} of {len(limits)}" if run["policy"] != "online_only" else "the base"]
        else:
            row += [""] * 7
        row += [f"{rates['online']:.0f}", f"{rates['offline']:.0f}", f"{rates['online'] + rates['offline']:.0f}"]
        row += [f"{100 * rates['offline'] / ceiling:.1f} %" if ceiling else ""]
        row += [f"{rates['recomputed']:.1f}", f"{100 * rates['busy']:.0f} %"]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def offered_policies(binary):
    """What this build of the program can be told."""
    text = subprocess.run([binary, "serve", "--print-defaults"], stdout=subprocess.PIPE, text=True).stdout
    before = text[: text.index("\nscheduling_policy:")]
    return re.findall(r"\w+", before[before.rindex("one of") + len("one of") :])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("tandem", help="the program")
    add("--client", default="", help="the program that replays, if it is another")
    add("--trace", required=True, help="of online requests")
    add("--offline-trace", required=True, help="lengths of offline items")
    add("--seconds", type=float, default=600, help="of the trace, and of each run")
    add("--start", type=float, default=0, help="where in the trace the segment begins")
    add("--keep", type=float, default=0.3, help="share of the trace's requests")
    add("--scale", type=float, default=0.125, help="of all lengths")
    add("--tolerance", type=float, default=10, help="percent over online_only")
    add("--objectives", default=",".join(STATISTICS), help="which statistics must hold")
    add("--policies", default=",".join(POLICIES), help="which to run, online_only first")
    add("--fixed-rate", type=float, default=0, help="offline tokens/s of fixed_rate; 0: leave it out")
    add("--ceiling-seconds", type=float, default=120, help="of the offline set alone")
    add("--warm-up-seconds", type=float, default=30, help="before each run, not measured")
    add("--seed", type=int, default=0)
    add("--json", help="everything that was measured, as JSON")
    add("--serve", default="", help="further options of every service, as one text")
    return parser.parse_args()


def main():
    args = arguments()
    args.offered = offered_policies(args.tandem)
    wanted = args.policies.split(",")
    if wanted[0] != "online_only":
        sys.exit("--policies must begin with online_only, whose latencies are the base")
    runs, limits, ceiling = [], {}, None
    with tempfile.TemporaryDirectory(prefix="tandem-colocate-") as scratch:
        for policy in wanted:
            if policy not in POLICIES:
                sys.exit(f"--policies: {policy!r} is not one of {', '.join(POLICIES)}")
            if policy != "offline_only" and policy not in args.offered:
                print(f"{policy}: not offered by {args.tandem}, left out", file=sys.stderr)
                continue
            if policy == "fixed_rate" and args.fixed_rate <= 0:
                print("fixed_rate: no --fixed-rate, left out", file=sys.stderr)
                continue
            print(f"-- {policy}, load of this machine {os.getloadavg()[0]:.1f} --", file=sys.stderr)
            run = measure(policy, args, pathlib.Path(scratch) / policy, limits)
            run["load_average_after"] = os.getloadavg()[0]
            runs.append(run)
            if policy == "online_only":
                share = 1 + args.tolerance / 100
                limits = {name: run["felt"][name] * share for name in args.objectives.split(",")}
            if policy == "offline_only":
                ceiling = run["rates"]["offline"]
            if args.json:
                report = {"arguments": vars(args), "limits_ms": limits, "ceiling": ceiling, "runs": runs}
                pathlib.Path(args.json).write_text(json.dumps(report, indent=1) + "\n")
    print("limits, ms: " + ", ".join(f"{name} {limit:.1f}" for name, limit in limits.items()))
    print(table(runs, limits, ceiling))


if __name__ == "__main__":
    main()
