"""`tandem profile`: a profile is made and served from, and refused where it is of something else.

usage: profile_test.py TANDEM_BINARY
"""

import pathlib
import subprocess
import sys
import tempfile

from service import DEMO_MODEL, ROOT, Service, main

OK, FAILED, USAGE = 0, 1, 2


def expect(binary, arguments, code, *parts):
    """Runs the program: it returns `code`, and each of `parts` is in what it says."""
    done = subprocess.run(
        [binary, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    assert done.returncode == code, f"{arguments}: exit code {done.returncode}\n{said}"
    for part in parts:
        assert part in said, f"{arguments}: no {part!r} in\n{said}"


def a_profile_is_served_from_or_refused(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-profile-") as name:
        path = pathlib.Path(name)
        profile = path / "profile.yaml"
        limits = ("--max-iteration-tokens", 32, "--max-sequences", 8)
        measure = ("profile", "--model", DEMO_MODEL, *limits, "--seconds", 1, "--output")
        expect(binary, (*measure, path / "no" / "p"), USAGE, "is not a folder")
        expect(binary, (*measure, profile), OK, "MAPE", "decodes alone")
        text = profile.read_text()
        assert text.count("  - [") >= 32, text[:2000]
        with Service(binary, profile_file=str(profile), slo_tbt_p99="10000ms") as service:
            assert service.metric("tandem_iteration_budget_seconds") == 10
        serve = ("serve", "--model", DEMO_MODEL, "--port", 0, "--data-dir", path / "data")
        serve = (*serve, "--profile-file", profile)
        impossible = (*serve, "--slo-ttft-mean", "0.0001ms")
        expect(binary, impossible, USAGE, "cannot be met", "single online token")
        relative = (*serve, "--slo-ttft-mean", "+5%")
        expect(binary, relative, USAGE, "relative to online-only", "baseline")
        expect(binary, (*serve, "--slo-tbt-p99", "5"), USAGE, "such as 250ms")
        simulate = ("simulate", "--profile", profile, "--rate", 20, "--duration", 2)
        simulate = (*simulate, "--input-tokens", "8:32", "--policy", "online_first")
        expect(binary, simulate, USAGE, "--kv-tokens is needed")
        simulate = (*simulate, "--kv-tokens", 65536)
        expect(binary, (*simulate, "--model", DEMO_MODEL), OK, "as profiled", "online_first")
        other = (*simulate, "--model", ROOT / "config" / "models" / "llama-3.1-8b")
        expect(binary, other, USAGE, "is of another model", "layers=32")
        device = (*simulate, "--device", ROOT / "config" / "devices" / "h200.yaml")
        expect(binary, device, USAGE, "exclude each other")
        profile.write_text(text.replace("hidden=", "hidden=9"))
        expect(binary, serve, USAGE, "is of something else", "model: the profile is of")
        profile.write_text(text.replace("fixed:", "fixd:"))
        expect(binary, serve, USAGE, "lacks 'fixed'")


def a_budget_is_found_for_a_trace_and_served_from(binary):
    with tempfile.TemporaryDirectory(prefix="tandem-profile-") as name:
        path = pathlib.Path(name)
        profile, trace = path / "profile.yaml", path / "trace.csv"
        rows = [f"2023-11-16 18:00:{second:02}.000000,{20 + second},{4 + second % 7}" for second in range(20)]
        trace.write_text("\n".join(["TIMESTAMP,ContextTokens,GeneratedTokens", *rows]) + "\n")
        measure = ("profile", "--model", DEMO_MODEL, "--max-iteration-tokens", 32, "--max-sequences", 8)
        measure = (*measure, "--seconds", 1, "--output", profile)
        expect(binary, (*measure, "--slo"), USAGE, "--slo-trace FILE")
        expect(binary, (*measure, "--slo-trace", trace), USAGE, "--slo asks for")
        search = (*measure, "--slo", "--slo-trace", trace)
        expect(binary, search, USAGE, "needs an objective")
        impossible = (*search, "--slo-tbt-p99", "0.0001ms")
        expect(binary, impossible, FAILED, "cannot be met", "single online token", "MAPE")
        assert "budget:" not in profile.read_text()
        # Timed on whatever else the machine does: the objective is one that every budget meets.
        loose = ("--slo-tbt-mean", "+10000%")
        expect(binary, (*search, *loose), OK, "online alone", "budget ", ": met", "offline work in it")
        assert "budget:" in profile.read_text()
        with Service(binary, profile_file=str(profile), slo_tbt_mean=loose[1], max_iteration_tokens=32) as service:
            assert service.metric("tandem_iteration_budget_seconds") > 0


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            a_profile_is_served_from_or_refused,
            a_budget_is_found_for_a_trace_and_served_from,
        )
    )
