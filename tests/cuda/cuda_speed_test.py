"""bench/cuda_speed.py: how it judges, what it does without a GPU, and its service steps on the CPU.

usage: cuda_speed_test.py TANDEM GPU_CHECK
"""

import contextlib
import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import types

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "bench"))
import cuda_speed  # noqa: E402
import cuda_speed_steps as steps  # noqa: E402
import cuda_speed_table as table  # noqa: E402

SHAPE = table.GPU_SHAPE
SMALL = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 1024,
    "rms_norm_eps": 1e-05,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
# Of a device that does not exist. All goals are met, line 6 by groups of 2 alone.
FIGURES = [
    (table.COPY, "GB/s", 1000),
    (table.PRODUCT, "TFLOP/s", 200),
    (f"decode {SHAPE} 1 x 1024", table.MS, 3.9),
    (f"decode {SHAPE} 1 x 1024", table.FLOOR_MS, 3.5),
    (f"decode {SHAPE} 1 x 1024", table.FLOOR_SHARE, 89.7),
    (f"decode {SHAPE} 64 x 1024", table.MS, 5.9),
    (f"decode {SHAPE} 64 x 1024", table.FLOOR_MS, 5.5),
    (f"decode {SHAPE} 64 x 1024", table.FLOOR_SHARE, 93.2),
    (f"decode {SHAPE} 256 x 1536", table.MS, 16.4),
    (f"decode {SHAPE} 256 x 1536", table.FLOOR_MS, 16.0),
    (f"decode {SHAPE} 256 x 1536", table.FLOOR_SHARE, 97.6),
    (f"decode {SHAPE} 256 x 1536", table.HOST_US, 310),
    (f"decode {SHAPE} 256 x 1536", table.IDLE_US, 50),
    (f"decode {SHAPE} 256 x 1536", table.IDLE_WORST_US, 90),
    (f"prefill {SHAPE} 2048 after 0", table.PREFILL_MS, 40),
    (f"prefill {SHAPE} 2048 after 0", table.PREFILL_SHARE, 75),
    (f"prefill {SHAPE} 8192 after 0", table.PREFILL_MS, 180),
    (f"prefill {SHAPE} 8192 after 0", table.PREFILL_SHARE, 80),
    (f"preempt {SHAPE} 2048 tokens, groups of 1", table.YIELD_MS, 2),
    (f"preempt {SHAPE} 2048 tokens, groups of 1", table.TAX, 1.2),
    (f"preempt {SHAPE} 2048 tokens, groups of 2", table.YIELD_MS, 5),
    (f"preempt {SHAPE} 2048 tokens, groups of 2", table.TAX, 1),
    (f"preempt {SHAPE} 2048 tokens, groups of 4", table.YIELD_MS, 9),
    (f"preempt {SHAPE} 2048 tokens, groups of 4", table.TAX, 0.2),
]


def entry(found, status="done", reason=""):
    return {"status": status, "reason": reason, "began": "2026-01-01 00:00 UTC", "commands": [], "found": found}


def report(changes=(), notes=()):
    """gpu_check's JSON: FIGURES with other values for some (name, unit); None takes one out."""
    lines = [{"name": name, "kind": "note", "passed": True, "text": text} for name, text in notes]
    for name, unit, value in FIGURES:
        value = dict(changes).get((name, unit), value)
        if value is not None:
            lines.append({"name": name, "kind": "figure", "value": value, "unit": unit})
    return {"passed": 0, "failed": 0, "lines": lines}


def gpu_verdicts(*changes, notes=(), **how):
    """The verdicts of gpu_check's goals, in the order of the table."""
    results = {"gpu_check": entry({SHAPE: report(changes, notes)}, **how)}
    return [row.verdict for row in table.rows_of(results) if row.step == "gpu_check"]


def goals_of_gpu_check_are_met_or_missed_each_by_its_own_figure():
    met = ["met"] * 5 + ["met", "shown", "met with groups of 2"]
    assert gpu_verdicts() == met, gpu_verdicts()
    worse = {
        0: ((f"decode {SHAPE} 1 x 1024", table.MS), 3.91),
        1: ((f"decode {SHAPE} 64 x 1024", table.MS), 6.01),
        2: ((f"decode {SHAPE} 256 x 1536", table.MS), 16.6),
        3: ((f"prefill {SHAPE} 2048 after 0", table.PREFILL_SHARE), 74.9),
        4: ((f"prefill {SHAPE} 8192 after 0", table.PREFILL_SHARE), 74.9),
        5: ((f"decode {SHAPE} 256 x 1536", table.IDLE_US), 50.1),
        7: ((f"preempt {SHAPE} 2048 tokens, groups of 2", table.TAX), 1.1),
    }
    for at, change in worse.items():
        expected = [*met[:at], "missed", *met[at + 1 :]]
        assert gpu_verdicts(change) == expected, (change, gpu_verdicts(change))
    slow = gpu_verdicts(((f"preempt {SHAPE} 2048 tokens, groups of 2", table.YIELD_MS), 5.1))
    assert slow[7] == "missed", slow


def decodes_of_dependent_launches_are_rows_of_their_own():
    results = {"dependent": entry({SHAPE: report([((f"decode {SHAPE} 64 x 1024", table.MS), 6.01)])})}
    rows = [row for row in table.rows_of(results) if row.step == "dependent"]
    assert [row.verdict for row in rows] == ["met", "missed", "met"], rows
    assert all(row.line == 1 and "dependent" in row.what for row in rows), rows


def a_figure_that_is_not_there_is_not_measured_and_says_why():
    gone = ((f"decode {SHAPE} 256 x 1536", table.MS), None)
    verdicts = gpu_verdicts(gone, notes=[(gone[0][0], "does not fit this device's KV memory")])
    assert verdicts[2] == "not measured: does not fit this device's KV memory", verdicts
    verdicts = gpu_verdicts(gone, notes=[("decode", "the command's time is over")])
    assert verdicts[2] == "not measured: the command's time is over", verdicts
    # What a failed step had told still counts; what it had not takes the step's reason.
    verdicts = gpu_verdicts(gone, status="failed", reason="gpu_check was ended")
    assert verdicts[2] == "not measured: gpu_check was ended" and verdicts[3] == "met", verdicts
    rows = table.rows_of({})
    assert all(row.verdict.startswith("not measured: `") for row in rows), rows
    assert {row.line for row in rows} == set(range(1, 8)), rows


def service_predictor_and_simulator_are_judged_from_what_their_steps_found():
    saturated = {
        "completed": 256,
        "output_tokens_per_second": 9000.0,
        "iterations": 1000,
        "in_hand_share": 0.9,
        "scheduler_host_seconds": 0.045,
    }
    theirs = {"transformers": "5.0.0", "attention": "sdpa", "clock": "its own", "output_tokens_per_second": 4000.0}
    served = {"saturated": saturated, "concurrency": 256, "single": {"tbt_ms_mean": 4.04}}

    def load(rate, tbt):
        measured = {"output_tokens_per_second": 1000.0, "tbt_ms_p99": 20.0}
        return {"measured": measured, "simulated": {"output_tokens_per_second": rate, "tbt_ms_p99": tbt}}

    def rows(mape, **loads):
        fitted = {"mape_percent": mape, "unseen": 500, "file": "profile.yaml"}
        results = {"serve": entry(served), "transformers": entry(theirs), "profile": entry(fitted)}
        told = table.rows_of(results | {"simulate": entry(loads)})
        return [row for row in told if row.step not in ("gpu_check", "dependent")]

    good = rows(1.5, saturated=load(1099.0, 18.1), open=load(901.0, 21.9))
    assert [row.verdict for row in good] == ["shown"] * 4 + ["met"] * 3, good
    assert good[0].measured == "9,000 (256 requests, 256 at a time)", good[0]
    assert good[1].measured == "2.25 times (transformers 5.0.0, sdpa: 4,000 tokens/s)", good[1]
    assert good[2].measured == "mean 4.04 ms" and good[3].measured.startswith("45.0 µs"), good
    assert good[5].measured.startswith("+9.9 % (1,099 against 1,000 tokens/s); -9.5 %"), good[5]
    theirs["clock"] = "the whole call"
    bad = rows(1.51, saturated=load(1101.0, 20.0), open=load(1000.0, 17.9))
    assert bad[1].measured.endswith("4,000 tokens/s, the whole call)"), bad[1]
    assert [row.verdict for row in bad[4:]] == ["missed"] * 3, bad


def every_unit_asked_for_is_one_that_gpu_check_prints():
    sources = "".join(file.read_text() for file in (ROOT / "bench" / "gpu_check").glob("*.cpp"))
    for unit in {unit for _, unit, _ in FIGURES} | {table.COPY, table.PRODUCT}:
        assert f'"{unit}"' in sources, unit


def the_fragment_holds_no_folder_of_this_machine_and_no_unmade_figure():
    lab = steps.Lab(types.SimpleNamespace(model=pathlib.Path("/a/model"), python="/b/python3"), pathlib.Path("/c"))
    lab.note([ROOT / "bin" / "tandem", "--model", "/a/model", "--json", "/c/x.json"])
    lab.note(["/b/python3", ROOT / "bench" / "x.py"])
    assert lab.commands == ["./bin/tandem --model model --json OUT/x.json", "python3 ./bench/x.py"], lab.commands
    machine = {"gpu": "", "driver": "", "cpu": "a CPU", "version": "tandem 0", "revision": "r"}
    text = table.fragment(machine, "A workload.", {"gpu_check": entry({SHAPE: report()})})
    assert "| 1 | decode step, 1 x 1,024 tokens | at most 3.9 ms | 3.90 ms | 3.50 ms, 90 % |" in text, text
    assert f"| decode {SHAPE} 256 x 1536 | 16.4 | 16.0 | 98 % of the floor |" in text, text
    assert "copy on the device 1,000 GB/s" in text and "set for an H200" in text, text
    assert "Ceilings" not in table.fragment(machine, "", {"gpu_check": entry({})})


def a_command_is_ended_with_its_time_and_says_what_it_was():
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch:
        out = pathlib.Path(scratch)
        lab = steps.Lab(types.SimpleNamespace(model=out, python="python3"), out)
        lab.ends = time.monotonic() + 0.2
        try:
            lab.run("sleeper", ["sh", "-c", "echo $$; exec sleep 60"])
            raise AssertionError("it went on")
        except steps.Failed as reason:
            assert "sleeper was ended" in str(reason), reason
        with contextlib.suppress(ProcessLookupError):
            os.kill(int((out / "sleeper.out").read_text()), 0)
            raise AssertionError("it still runs")
        lab.ends = time.monotonic() + 60
        code, text, errors = lab.run("speaker", ["sh", "-c", "echo told; echo wrong >&2; exit 3"])
        assert (code, text, errors) == (3, "told\n", "wrong\n")
    for errors, kind, said in (
        ("x\ntandem: error: device: cuda: no NVIDIA device was found\n", steps.NoDevice, "no NVIDIA device was found"),
        ('reason="device: cuda: no driver" more\n', steps.NoDevice, "p: device: cuda: no driver"),
        ("gpu_check: no device to check: no driver\n", steps.NoDevice, "p: no device to check: no driver"),
        ("first\nlast\n\n", steps.Failed, "p ended with exit code 1: last"),
    ):
        try:
            steps.raise_for("p", 1, errors)
            raise AssertionError(errors)
        except (steps.NoDevice, steps.Failed) as reason:
            assert type(reason) is kind and str(reason).endswith(said), (reason, errors)
    assert steps.unseen_error("decodes alone   12  1.00%\nall       1200      2.50%   +3.00%\n") == (2.5, 1200)


FAKE_GPU_CHECK = """#!/bin/sh
# usage: gpu_check --json FILE --shape SHAPE COMMAND
passed=true
[ "$4" = wrong ] && passed=false
echo '{"lines": [{"name": "norm", "kind": "check", "passed": '$passed', "text": ""}]}' >"$2"
[ "$4" = slow ] && exec sleep 60
[ $passed = true ]
"""


def what_gpu_check_had_written_is_kept_when_a_check_fails_or_its_time_is_over():
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch:
        out = pathlib.Path(scratch)
        fake = out / "gpu_check"
        fake.write_text(FAKE_GPU_CHECK)
        fake.chmod(0o755)
        for shapes, seconds, kept, said in (
            ("wrong,right", 60, ["wrong", "right"], "wrong: 1 checks failed, the first: norm"),
            ("right,slow,late", 1, ["right", "slow"], "gpu_check-slow was ended: the step's time was over"),
        ):
            args = types.SimpleNamespace(model=out, python="python3", gpu_check=fake, checks="decode", shapes=shapes)
            lab, found = steps.Lab(args, out), {}
            lab.tell, lab.ends = lambda text: None, time.monotonic() + seconds
            try:
                steps.gpu_check(lab, found)
                raise AssertionError(f"{shapes}: {found}")
            except steps.Failed as reason:
                assert str(reason) == said and list(found) == kept, (reason, found)


def a_step_that_breaks_or_has_no_time_left_is_told_as_such_and_stops_no_other():
    def step_that(problem):
        def work(_lab, found):
            found["early"] = 1
            raise problem

        return work

    lab = types.SimpleNamespace(args=types.SimpleNamespace(limit_serve=60), tell=lambda text: None)
    ended = time.monotonic() + 60
    kept = steps.serve
    try:
        for problem, status, told in (
            (ValueError("odd"), "failed", "serve: failed: ValueError: odd"),
            (steps.Failed("late"), "failed", "serve: failed: late"),
            (steps.NoDevice("none"), "no device", "serve: stopped at its first GPU call: none"),
            (steps.Missing("torch"), "missing", "serve: missing: torch"),
            (KeyboardInterrupt(), "interrupted", "serve: interrupted: it was interrupted"),
        ):
            steps.serve = step_that(problem)
            result = cuda_speed.run_step(lab, "serve", {}, ended)
            assert result["status"] == status and result["found"] == {"early": 1}, result
            assert cuda_speed.told("serve", result) == told, result
        result = cuda_speed.run_step(lab, "serve", {}, time.monotonic() + 1)
        assert result["status"] == "left out" and result["found"] == {}, result
    finally:
        steps.serve = kept


def results_of_another_machine_version_or_workload_are_left_behind():
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch, contextlib.redirect_stderr(io.StringIO()):
        file = pathlib.Path(scratch) / "cuda_speed.json"
        assert cuda_speed.earlier(file, {"gpu": "a"}, "short") == {}
        file.write_text(json.dumps({"machine": {"gpu": "a"}, "workload": "short", "steps": {"serve": entry({})}}))
        assert list(cuda_speed.earlier(file, {"gpu": "a"}, "short")) == ["serve"]
        assert cuda_speed.earlier(file, {"gpu": "b"}, "short") == {}
        assert cuda_speed.earlier(file, {"gpu": "a"}, "long") == {}
        file.write_text('{"machine": ')
        assert cuda_speed.earlier(file, {"gpu": "a"}, "short") == {}


def run(tandem, gpu_check, out, *more):
    command = [sys.executable, ROOT / "bench" / "cuda_speed.py", "--out", out, "--tandem", tandem]
    command += ["--gpu-check", gpu_check, *more]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)
    return done, json.loads((out / "cuda_speed.json").read_text())


def has_gpu():
    return any(pathlib.Path(path).exists() for path in ("/dev/nvidia0", "/dev/dxg"))


def without_a_gpu_each_step_says_what_its_first_gpu_call_said(tandem, gpu_check):
    if has_gpu():
        return print("skipped: this machine has a GPU")
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch:
        out = pathlib.Path(scratch)
        done, whole = run(tandem, gpu_check, out)
        assert done.returncode == 2, done
        first_calls = {
            "gpu_check": "gpu_check: no device to check: ",
            "dependent": "gpu_check: no device to check: ",
            "serve": "serve: device: cuda: ",
            "profile": "profile: device: cuda: ",
        }
        for step, said in first_calls.items():
            assert f"cuda_speed: {step}: stopped at its first GPU call: {said}" in done.stderr, (step, done)
        assert whole["steps"]["transformers"]["status"] in ("missing", "no device"), whole
        assert "cuda_speed: transformers: " in done.stderr, done.stderr
        assert "cuda_speed: simulate: missing: it needs what `profile` finds on the device" in done.stderr, done
        rows = re.findall(r"^\| \d \| .*", done.stdout, re.MULTILINE)
        assert len(rows) == 18 and all("| not measured: " in row for row in rows), rows
        assert done.stdout == (out / "fragment.md").read_text()
    return None


def the_steps_of_the_service_run_on_the_cpu_and_agree_with_each_other(tandem, gpu_check):
    with tempfile.TemporaryDirectory(prefix="tandem-speed-") as scratch:
        out, model = pathlib.Path(scratch) / "out", pathlib.Path(scratch) / "small"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(SMALL))
        small = ["--device", "host", "--model", model, "--requests", 6, "--concurrency", 3, "--input-tokens", 40]
        small += ["--output-tokens", 10, "--max-iteration-tokens", 64, "--max-context", 256]
        done, whole = run(tandem, gpu_check, out, *small, "--open-seconds", 0.2, "--profile-seconds", 1)
        assert done.returncode == 0, done
        found = {name: step["found"] for name, step in whole["steps"].items()}
        assert list(found) == ["serve", "profile", "simulate"], whole
        served = found["serve"]
        assert served["saturated"]["completed"] == 6 and served["single"]["iterations"] >= 10, served
        assert served["saturated"]["output_tokens_per_second"] > 0 and served["kv_tokens"] > 256, served
        assert found["profile"]["unseen"] > 10 and found["profile"]["mape_percent"] > 0, found
        for load in ("saturated", "open"):
            both = found["simulate"][load]
            assert both["measured"]["tbt_ms_p99"] == served[load]["tbt_ms_p99"], both
            assert min(both["simulated"].values()) > 0, both
        assert "was not run" in done.stdout and "| shown |" in done.stdout, done.stdout
        # A later call keeps what the others found.
        done, whole = run(tandem, gpu_check, out, *small, "--steps", "simulate")
        assert done.returncode == 0 and whole["steps"]["serve"]["found"] == served, done


def main():
    programs = sys.argv[1:]
    pure = (
        goals_of_gpu_check_are_met_or_missed_each_by_its_own_figure,
        decodes_of_dependent_launches_are_rows_of_their_own,
        a_figure_that_is_not_there_is_not_measured_and_says_why,
        service_predictor_and_simulator_are_judged_from_what_their_steps_found,
        every_unit_asked_for_is_one_that_gpu_check_prints,
        the_fragment_holds_no_folder_of_this_machine_and_no_unmade_figure,
        a_command_is_ended_with_its_time_and_says_what_it_was,
        what_gpu_check_had_written_is_kept_when_a_check_fails_or_its_time_is_over,
        a_step_that_breaks_or_has_no_time_left_is_told_as_such_and_stops_no_other,
        results_of_another_machine_version_or_workload_are_left_behind,
    )
    whole = (
        without_a_gpu_each_step_says_what_its_first_gpu_call_said,
        the_steps_of_the_service_run_on_the_cpu_and_agree_with_each_other,
    )
    for test in (*pure, *whole):
        start = time.monotonic()
        test(*(programs if test in whole else ()))
        print(f"ok    {test.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
    print(f"{len(pure) + len(whole)} passed, 0 failed")


if __name__ == "__main__":
    main()
