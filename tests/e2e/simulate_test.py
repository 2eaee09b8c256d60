"""`tandem simulate` on small traces of its own: table, JSON, picture and log tell of one run, in both
modes, and what is wrong is said before anything runs.

usage: simulate_test.py TANDEM_BINARY
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from service import DEMO_MODEL, ROOT, main

OK, USAGE = 0, 2
HEAD = "arrival,prompt_tokens,output_tokens\n"
# Full mode keeps a store in a temporary folder, which a disk only slows down.
IN_MEMORY = {"TMPDIR": "/dev/shm"} if pathlib.Path("/dev/shm").is_dir() else {}
ENVIRONMENT = {**os.environ, **IN_MEMORY}
SVG = "{http://www.w3.org/2000/svg}"


def run(binary, *arguments, code=OK, say=()):
    """Runs the program in the repository: it returns `code` and says each of `say`."""
    done = subprocess.run(
        [binary, "simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env=ENVIRONMENT,
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{said}"
    for part in say:
        assert part in said, f"{arguments}: no {part!r} in\n{said}"
    return done.stdout


def write(path, name, text):
    (path / name).write_text(text)
    return path / name


def small_trace(path):
    """Forty calls in twenty seconds."""
    rows = [f"{i / 2},{100 + 37 * (i % 11)},{5 + i % 9}" for i in range(40)]
    return write(path, "calls.csv", HEAD + "\n".join(rows) + "\n")


def check_table(table, results):
    """The table has a row for each policy of the JSON, with the same figures."""
    for policy in results["policies"]:
        row = next(line for line in table.splitlines() if line.startswith(policy["policy"] + " "))
        for name in ("online_tokens_per_s", "offline_tokens_per_s", "total_tokens_per_s"):
            assert f" {policy[name]:.0f} " in row, (name, policy[name], row)
        assert f" {policy['tbt_ms']['p99']:.2f} " in row, row
        assert f" {policy['objectives_met']}/{len(results['objectives'])} " in row, row


def check_picture(path, policies):
    """Well formed, complete in itself, with a curve for each policy."""
    root = xml.etree.ElementTree.parse(path).getroot()
    assert root.tag == SVG + "svg", root.tag
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert not tags & {"script", "image", "use", "foreignObject"}, tags
    for element in root.iter():
        for name, value in element.attrib.items():
            assert "href" not in name and "nan" not in value and "inf" not in value, (name, value)
    text = " ".join("".join(element.itertext()) for element in root.iter(SVG + "text"))
    for policy in policies:
        assert policy in text, (policy, text)


def table_json_picture_and_log_tell_of_one_run(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        trace = small_trace(path)
        policies = ["online_only", "online_first", "hygen"]
        base = ["--trace", trace, "--offline-items", 50, "--tbt-p99", "+50%", "--seed", 3]
        base += ["--policy", ",".join(policies), "--precision", 0.5]
        outputs = []
        for mode in ("fast", "full"):
            files = [path / f"{mode}.{end}" for end in ("json", "svg", "log")]
            where = ["--mode", mode, "--json", files[0], "--svg", files[1], "--log", files[2]]
            table = run(binary, *base, *where, say=["Within the objectives hygen harvests"])
            results = json.loads(files[0].read_text())
            assert results["mode"] == mode and results["seed"] == 3, results
            assert [each["policy"] for each in results["policies"]] == policies
            alone = results["policies"][0]
            assert alone["online"]["finished"] == 40 and alone["offline"]["tokens_served"] == 0
            assert results["policies"][2]["met"] and results["policies"][2]["searched"]
            check_table(table, results)
            check_picture(files[1], policies)
            log = files[2].read_text()
            assert log.endswith(" ended\n") and log.count(" class=online ") == 40, log[-200:]
            outputs.append((table, log, results))
        again = path / "again.log"
        assert run(binary, *base, "--mode", "full", "--log", again) == outputs[1][0]
        assert again.read_text() == outputs[1][1], "equal seeds give equal logs"
        # What predictor and profiler cannot change is equal, the rest nearly so.
        fast, full = outputs[0][2]["policies"], outputs[1][2]["policies"]
        assert fast[:2] == full[:2]
        rates = [each[2]["total_tokens_per_s"] for each in (fast, full)]
        assert abs(rates[0] - rates[1]) <= 0.02 * rates[0], rates


def real_prompts_share_what_they_begin_with(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        shots = write(path, "shots.txt", "Question and answer. " * 40)
        prompts = write(path, "prompts.txt", "".join(f"How many are {i}?\n" for i in range(30)))
        result = path / "result.json"
        base = ["--model", DEMO_MODEL, "--offline-prompts", prompts, "--prompt-prefix", shots]
        base += ["--offline-output-tokens", 4, "--duration", 5, "--offline-once", "--json", result]
        for mode in ("fast", "full"):
            run(binary, *base, "--policy", "online_first", "--mode", mode)
            offline = json.loads(result.read_text())["policies"][0]["offline"]
            assert offline["finished"] == 30, offline
            assert offline["tokens_cached"] > 0.8 * offline["tokens_served"], offline
        no_tokenizer = ["--offline-prompts", prompts, "--duration", 5]
        run(binary, *no_tokenizer, code=USAGE, say=["needs --tokenizer"])
        run(binary, *base, "--offline", prompts, code=USAGE, say=["exclude each other"])


def an_offline_set_is_scaled_like_a_trace(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        lengths = "num_prefill_tokens,num_decode_tokens\n" + "100,20\n" * 40
        result = path / "result.json"
        base = ["--offline", write(path, "set.csv", lengths), "--offline-once", "--json", result]
        base += ["--policy", "offline_only", "--duration", 60, "--seed", 1]

        def offline(*flags):
            run(binary, *base, *flags)
            return json.loads(result.read_text())["policies"][0]["offline"]

        plain = offline()
        assert plain["finished"] == 40 and plain["tokens_served"] == 40 * 119, plain
        short = offline("--offline-prompt-scale", 0.25, "--offline-output-scale", 0.5)
        assert short["finished"] == 40 and short["tokens_served"] == 40 * (25 + 9), short
        assert 0 < offline("--offline-keep", 0.5)["finished"] < 40
        alone = ["--duration", 5, "--offline-prompt-scale", 2]
        run(binary, *alone, code=USAGE, say=["need --offline"])
        run(binary, *base, "--offline-keep", 2, code=USAGE, say=["offline-keep"])


def wrong_traces_are_refused_by_line(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        unsorted = write(path, "unsorted.csv", HEAD + "0,100,5\n2,100,5\n1,100,5\n")
        negative = write(path, "negative.csv", HEAD + "-1,100,5\n")
        rest = ["--policy", "online_only"]
        run(binary, "--trace", unsorted, *rest, code=USAGE, say=["unsorted.csv:4: arrives before"])
        run(binary, "--trace", unsorted, *rest, "--sort", say=["1 request out of order, sorted"])
        run(binary, "--trace", negative, *rest, code=USAGE, say=["negative.csv:2", "before time 0"])
        run(binary, "--trace", path / "none", *rest, code=USAGE, say=["there is no such file"])
        both = '{"arrival": 0, "prompt_tokens": 50, "output_tokens": 5, "class": "%s"%s}\n'
        mixed = write(path, "mixed.jsonl", both % ("online", "") + both % ("offline", ""))
        say = ["mixed.jsonl: has offline requests of its own; none were generated"]
        run(binary, "--trace", mixed, *rest, say=say)
        offline = ["--offline", mixed]
        run(binary, "--trace", mixed, *offline, *rest, code=USAGE, say=["no other offline set"])
        late = write(path, "late.jsonl", both % ("offline", ', "deadline": 30'))
        full = ["--trace", unsorted, "--sort", "--offline", late, "--mode", "full"]
        run(binary, *full, code=USAGE, say=["late.jsonl: request 1 has a deadline", "use --mode fast"])


def what_cannot_be_met_or_does_not_fit_is_said(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        base = ["--trace", small_trace(path), "--policy", "online_first"]
        say = ["tbt_p99 of 0.001 ms cannot be met", "a single online token takes"]
        run(binary, *base, "--tbt-p99", "0.001ms", code=USAGE, say=say)
        run(binary, *base, "--tbt-p99", "5", code=USAGE, say=["such as 250ms"])
        lengths = "num_prefill_tokens,num_decode_tokens\n100,5\n140000,10\n"
        long = [*base, "--offline", write(path, "long.csv", lengths)]
        say = ["long.csv: 1 request is longer than the context of 131072", "140000 + 10"]
        run(binary, *long, code=USAGE, say=say)
        run(binary, *long, "--drop-too-long", say=[*say, "left out"])
        smaller = ["--offline", path / "long.csv", "--kv-tokens", 65536]
        run(binary, *base, *smaller, code=USAGE, say=["the context of 65536"])
        run(binary, *base, "--mode", "slow", code=USAGE, say=["not in {fast,full}"])
        run(binary, *base, "--offline-order", "x", code=USAGE, say=["allowed are fcfs, prefix"])
        say = ["/nonexistent/x.svg: cannot be written"]
        run(binary, *base, "--svg", "/nonexistent/x.svg", code=USAGE, say=say)


def a_file_stands_for_flags(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-simulate-") as name:
        path = pathlib.Path(name)
        text = "mode: full\nrate: 5\nduration: 4\npolicy: [online_only, online_first]\n"
        config = write(path, "run.yaml", text)
        said = run(binary, "--config", config, say=["4 s of traffic, seed 0, full mode"])
        assert "\nonline_only " in said and "\nonline_first " in said, said
        said = run(binary, "--config", config, "--mode", "fast", "--policy", "online_only")
        assert "full mode" not in said and "\nonline_first" not in said, said
        config.write_text(text + "speeed: 2\n")
        run(binary, "--config", config, code=USAGE, say=["run.yaml: unknown key 'speeed'"])
        config.write_text("mode: slow\n")
        run(binary, "--config", config, code=USAGE, say=["run.yaml: 'mode'", "not in {fast,full}"])


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            table_json_picture_and_log_tell_of_one_run,
            real_prompts_share_what_they_begin_with,
            an_offline_set_is_scaled_like_a_trace,
            wrong_traces_are_refused_by_line,
            what_cannot_be_met_or_does_not_fit_is_said,
            a_file_stands_for_flags,
        )
    )
