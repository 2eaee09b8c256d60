"""What cuda_speed.py found, as Markdown: a row for each goal, with what was measured beside it. Functions of their
arguments alone. Nothing is made up: what a step does not tell is "not measured", with the step's reason."""

import collections

GPU_SHAPE = "llama-3.1-8b"  # of the goals
MOST_DIFFERENCE = 10  # percent, between the simulator and the service

# Units by which gpu_check's figures are told apart, as bench/gpu_check writes them.
MS = "ms an iteration"
FLOOR_MS = "ms floor: weights and keys at the copy's bytes a second"
FLOOR_SHARE = "% of the floor's rate"
HOST_US = "us of the host an iteration"
IDLE_US = "us without compute between iterations, median"
IDLE_WORST_US = "us without compute between iterations, worst"
PREFILL_MS = "ms"
PREFILL_SHARE = "% of the large product's rate"
YIELD_MS = "ms from request to yield, worst"
TAX = "% longer than in one piece: the safepoints when nobody preempts"
COPY = "ceiling: a copy of 1 GiB on the device, read and written"
PRODUCT = "ceiling: a bf16 product of 8192 x 8192 x 8192, random numbers"

HEAD = ("line", "what", "goal", "measured", "floor, share", "command", "verdict")
Row = collections.namedtuple("Row", ("line", "what", "goal", "measured", "floor", "verdict", "step"))


def amount(value):
    """Three digits, or all in front of the point."""
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{decimals}f}"


def signed(percent):
    return f"{percent:+.1f} %"


def met(holds):
    return "met" if holds else "missed"


class GpuCheck:
    """The figures of one shape, from the JSON of gpu_check."""

    def __init__(self, report):
        lines = report["lines"] if report else []
        self.figures = {(one["name"], one["unit"]): one["value"] for one in lines if one["kind"] == "figure"}
        self.notes = {one["name"]: one["text"] for one in lines if one["kind"] == "note"}
        self.names = list(dict.fromkeys(one["name"] for one in lines if one["kind"] == "figure"))

    def get(self, name, unit):
        return self.figures.get((name, unit))

    def why_not(self, name):
        """gpu_check's own word on a figure that is not there: of its name, or of its command, which is the first
        word of the name."""
        return self.notes.get(name) or self.notes.get(name.split()[0])


def found(results, step):
    """What a step told, even if it did not come to its end."""
    return results.get(step, {}).get("found", {})


def reason(results, step):
    """Why a step did not tell something."""
    result = results.get(step)
    if result is None:
        return f"`{step}` was not run"
    return f"`{step}` has no such figure" if result["status"] == "done" else result["reason"]


def not_measured(line, what, goal, step, why):
    return Row(line, what, goal, "", "", f"not measured: {why}", step)


def gpu_row(results, line, what, goal, name, units, make, step="gpu_check"):
    """A row of gpu_check's figures of `name`: make(a value for each unit) is (measured, floor, verdict)."""
    figures = GpuCheck(found(results, step).get(GPU_SHAPE))
    values = [figures.get(name, unit) for unit in units]
    if None in values:
        why = figures.why_not(name) or reason(results, step)
        return not_measured(line, what, goal, step, why)
    return Row(line, what, goal, *make(*values), step)


def decode_rows(results):
    def row(sequences, context, most, step="gpu_check"):
        def make(ms, floor, share):
            return f"{amount(ms)} ms", f"{amount(floor)} ms, {share:.0f} %", met(ms <= most)

        what = f"decode step, {sequences} x {context:,} tokens"
        what += ", kernel_launch: dependent" if step == "dependent" else ""
        name = f"decode {GPU_SHAPE} {sequences} x {context}"
        return gpu_row(results, 1, what, f"at most {most} ms", name, (MS, FLOOR_MS, FLOOR_SHARE), make, step)

    shapes = [(1, 1024, 3.9), (64, 1024, 6.0), (256, 1536, 16.5)]
    return [row(*shape, step) for step in ("gpu_check", "dependent") for shape in shapes]


def prefill_rows(results):
    def make(ms, share):
        return f"{amount(ms)} ms", f"{share:.0f} % of the large product's rate", met(share >= 75)

    def row(tokens):
        name = f"prefill {GPU_SHAPE} {tokens} after 0"
        goal = "at least 75 % of the large product's rate"
        return gpu_row(results, 2, f"prefill of {tokens:,} tokens", goal, name, (PREFILL_MS, PREFILL_SHARE), make)

    return [row(2048), row(8192)]


def service_rows(results):
    served, theirs = found(results, "serve"), found(results, "transformers")
    ours, shown = served.get("saturated"), "to be shown"
    rows = []
    what = "output tokens/s through the service, at saturation"
    if ours:
        rate = ours["output_tokens_per_second"]
        measured = f"{amount(rate)} ({ours['completed']} requests, {served['concurrency']} at a time)"
        rows.append(Row(3, what, shown, measured, "", "shown", "serve"))
    else:
        rows.append(not_measured(3, what, shown, "serve", reason(results, "serve")))
    what = "the same over transformers' continuous batching"
    if ours and theirs:
        rate = theirs["output_tokens_per_second"]
        version = f"transformers {theirs['transformers']}, {theirs['attention']}: {amount(rate)} tokens/s"
        version += "" if theirs["clock"] == "its own" else f", {theirs['clock']}"
        measured = f"{ours['output_tokens_per_second'] / rate:.2f} times ({version})"
        rows.append(Row(3, what, shown, measured, "", "shown", "transformers"))
    else:
        why = reason(results, "serve" if theirs else "transformers")
        rows.append(not_measured(3, what, shown, "transformers", why))
    what = "between tokens of one request alone in the service"
    if alone := served.get("single"):
        rows.append(Row(3, what, shown, f"mean {amount(alone['tbt_ms_mean'])} ms", "", "shown", "serve"))
    else:
        rows.append(not_measured(3, what, shown, "serve", reason(results, "serve")))
    return rows


def gap_rows(results):
    def idle(median, worst):
        return f"median {amount(median)} µs, worst {amount(worst)} µs, bare engine", "", met(median <= 50)

    def host(us):
        return f"{amount(us)} µs, bare engine", "", "shown"

    name = f"decode {GPU_SHAPE} 256 x 1536"
    what = "device idle between decode iterations, batch 256"
    rows = [gpu_row(results, 4, what, "at most 50 µs", name, (IDLE_US, IDLE_WORST_US), idle)]
    rows.append(gpu_row(results, 4, "host cost of an iteration, batch 256", "to be shown", name, (HOST_US,), host))
    saturated = found(results, "serve").get("saturated")
    what = "host cost of an iteration, scheduler in the service"
    if not (saturated and saturated["iterations"]):
        return [*rows, not_measured(4, what, "to be shown", "serve", reason(results, "serve"))]
    us = 1e6 * saturated["scheduler_host_seconds"] / saturated["iterations"]
    measured = f"{amount(us)} µs on average; an iteration in hand {100 * saturated['in_hand_share']:.0f} % of the time"
    return [*rows, Row(4, what, "to be shown", measured, "", "shown", "serve")]


def predictor_row(results):
    what, goal = "latency predictor, MAPE on unseen iterations", "at most 1.5 %"
    told = found(results, "profile")
    if not told:
        return not_measured(5, what, goal, "profile", reason(results, "profile"))
    measured = f"{told['mape_percent']:.2f} % of {told['unseen']:,} iterations"
    return Row(5, what, goal, measured, "", met(told["mape_percent"] <= 1.5), "profile")


def yield_row(results):
    """One size of group has to keep both, since layers_per_segment is an option."""
    what, goal = "yield at 2,048 offline tokens; safepoint tax", "one group: within 5 ms; at most 1 %"
    figures = GpuCheck(found(results, "gpu_check").get(GPU_SHAPE))
    told, kept = [], []
    for group in (1, 2, 4):
        name = f"preempt {GPU_SHAPE} 2048 tokens, groups of {group}"
        worst, tax = figures.get(name, YIELD_MS), figures.get(name, TAX)
        if worst is None or tax is None:
            continue
        told.append(f"groups of {group}: {amount(worst)} ms at worst, {signed(tax)}")
        kept += [group] if worst <= 5 and tax <= 1 else []
    if not told:
        why = figures.why_not(f"preempt {GPU_SHAPE} 2048 tokens, groups of 4") or reason(results, "gpu_check")
        return not_measured(6, what, goal, "gpu_check", why)
    if not kept and len(told) < 3:
        return Row(6, what, goal, "; ".join(told), "", "not measured: not every size of group was", "gpu_check")
    verdict = f"met with groups of {kept[-1]}" if kept else "missed"
    return Row(6, what, goal, "; ".join(told), "", verdict, "gpu_check")


def simulator_rows(results):
    rows = []
    loads = {"saturated": "simulator against service, at saturation", "open": "the same, Poisson arrivals"}
    for load, what in loads.items():
        goal = f"within {MOST_DIFFERENCE} %"
        told = found(results, "simulate").get(load)
        if not told:
            rows.append(not_measured(7, what, goal, "simulate", reason(results, "simulate")))
            continue
        parts, differences = [], []
        for name, unit in (("output_tokens_per_second", "tokens/s"), ("tbt_ms_p99", "ms p99 TBT")):
            simulated, measured = told["simulated"][name], told["measured"][name]
            differences.append(100 * (simulated / measured - 1))
            parts.append(f"{signed(differences[-1])} ({amount(simulated)} against {amount(measured)} {unit})")
        holds = all(abs(difference) <= MOST_DIFFERENCE for difference in differences)
        rows.append(Row(7, what, goal, "; ".join(parts), "", met(holds), "simulate"))
    return rows


def rows_of(results):
    """Every goal, in the order of its line."""
    rows = [*decode_rows(results), *prefill_rows(results), *service_rows(results), *gap_rows(results)]
    return [*rows, predictor_row(results), yield_row(results), *simulator_rows(results)]


def markdown(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def goals_table(rows):
    cells = [(*row[:5], f"`{row.step}`", row.verdict) for row in rows]
    return markdown(HEAD, cells)


def all_iterations(results):
    """Every decode and prefill that gpu_check measured, of every shape, as a table; empty if there is none."""
    lines = []
    for report in found(results, "gpu_check").values():
        figures = GpuCheck(report)
        for name in figures.names:
            ms = figures.get(name, MS) if name.startswith("decode ") else figures.get(name, PREFILL_MS)
            if ms is None or not name.startswith(("decode ", "prefill ")):
                continue
            floor = figures.get(name, FLOOR_MS)
            share = figures.get(name, FLOOR_SHARE) if floor else figures.get(name, PREFILL_SHARE)
            of = f"{share:.0f} % {'of the floor' if floor else 'of the product'}" if share is not None else ""
            lines.append((name, amount(ms), amount(floor) if floor else "", of))
    return markdown(("iteration", "ms", "floor ms", "share of the rate"), lines) if lines else ""


def fragment(machine, workload, results):
    """Markdown to be pasted into a page of docs/benchmarks. `machine`: gpu, driver, version, revision; `workload`: a
    sentence."""
    rows = rows_of(results)
    dates = sorted({result["began"][:10] for result in results.values()})
    ceilings = GpuCheck(found(results, "gpu_check").get(GPU_SHAPE))
    gpu = machine["gpu"] or ceilings.notes.get("device", "")
    text = [f"## {gpu or 'No GPU'}, {' and '.join(dates)}", ""]
    driver = f", driver {machine['driver']}" if machine["driver"] else ""
    text += [f"{gpu or machine['cpu']}{driver}; {machine['version']}, revision {machine['revision']}. {workload}"]
    text[-1] += "" if "H200" in gpu else " The goals were set for an H200."
    copy, product = ceilings.get(COPY, "GB/s"), ceilings.get(PRODUCT, "TFLOP/s")
    if copy and product:
        text += ["", f"Ceilings: a copy on the device {amount(copy)} GB/s, read and written; a bf16 product of"]
        text[-1] += f" 8192³ on random numbers {amount(product)} TFLOP/s."
    text += ["", goals_table(rows)]
    if iterations := all_iterations(results):
        text += ["", iterations]
    text += ["", "Commands:", ""]
    for step, result in results.items():
        text += [f"- `{step}`, {result['began']}: {result['status']}"]
        text[-1] += f", {result['reason']}" if result["reason"] else ""
        text += [f"  - `{command}`" for command in result["commands"]]
    return "\n".join(text) + "\n"
