"""`tandem replay`: traces and offline sets against a service, and what is wrong with them.

usage: replay_test.py TANDEM_BINARY
"""

import json

from cli_test import BINARY, OK, USAGE, expect, folder
from service import ROOT, Service


def test_replay():
    for wrong, part in [
        ([], "nothing to replay"),
        (["--trace", "/nonexistent"], "/nonexistent"),
        (["--trace", ROOT / "LICENSE", "--end-with-online", "--run-seconds", "-1"], "run-seconds"),
        (["--offline-prompts", ROOT / "LICENSE", "--offline-trace", ROOT / "LICENSE"], "both given"),
        (["--offline-prompts", ROOT / "LICENSE", "--end-with-online"], "needs --trace"),
        (["--trace", ROOT / "LICENSE", "--transport", "websocket"], "needs --prompts"),
    ]:
        expect(["replay", *wrong], USAGE, part)
    with Service(BINARY) as service, folder() as path:
        result = path / "result.json"
        base = ["replay", "--url", service.url, "--json", result]
        trace = path / "trace.jsonl"
        trace.write_text(
            "".join(
                json.dumps({"timestamp": 100 * i, "input_length": 80, "output_length": 6, "hash_ids": [0]}) + "\n"
                for i in range(8)
            )
        )
        items = path / "items.csv"
        items.write_text("num_prefill_tokens,num_decode_tokens\n400,30\n200,0\n")
        # Both loads, half of the trace, lengths halved: everything ends.
        out, _ = expect(
            [
                *base,
                *("--trace", trace, "--window", "0.4", "--speed", "2", "--prompt-scale", "0.5"),
                *("--output-scale", "0.5", "--every-token", "--goodput", "ttft:60000"),
                *("--offline-trace", items, "--offline-items", "5", "--offline-prompt-scale", "0.1"),
                *("--offline-output-scale", "0.1"),
            ],
            OK,
            "9/9",
            "items.csv: 1 request without output tokens",
        )
        got = json.loads(result.read_text())
        online, offline = got["online"], got["offline"]
        assert (online["completed"], online["good"], online["unfinished"]) == (4, 4, 0), online
        assert (online["prompt_tokens"], online["output_tokens"]) == (160, 12), online
        assert online["tbt_ms"]["count"] == 8 and online["seconds"] >= 0.15, online
        assert offline["completed"] == 5, offline
        assert offline["prompt_tokens"] == 3 * 40 + 2 * 20, offline
        assert offline["output_tokens"] == 3 * 3 + 2 * 1, offline
        assert service.metric("tandem_prefix_cache_hits_total") > 0, "equal hash ids, equal prefixes"
        # A batch that would take long ends with the last online request, and is cancelled.
        _, err = expect(
            [*base, "--trace", trace, "--offline-trace", items, "--offline-items", "5000", "--end-with-online"],
            OK,
        )
        assert "cancelled batch_" in err, err
        assert json.loads(result.read_text())["online"]["completed"] == 8
        expect([*base, "--offline-trace", items, "--offline-items", "5000", "--run-seconds", "0.5"], OK)
        assert json.loads(result.read_text())["offline"]["seconds"] < 30
        # Prompts as text, with worked examples before each.
        prompts = path / "questions.jsonl"
        prompts.write_text('{"question": "The ocean"}\n{"question": "A bakery"}\n')
        shots = path / "shots.txt"
        shots.write_text("Tell me about it.\n")
        expect(
            [
                *base,
                *("--offline-prompts", prompts, "--prompt-prefix", shots, "--offline-items", "4"),
                *("--offline-output-tokens", "3", "--offline-mode", "flex"),
            ],
            OK,
        )
        assert json.loads(result.read_text())["offline"]["output_tokens"] == 12
        # Online calls as text, over either transport.
        for transport in ("sse", "websocket"):
            expect([*base, "--trace", trace, "--prompts", prompts, "--transport", transport, "--speed", "9"], OK)
            online = json.loads(result.read_text())["online"]
            assert (online["completed"], online["output_tokens"]) == (8, 48), online
            assert 8 < online["prompt_tokens"] < 400 and online["ttft_ms"]["p50"] > 0, online
            assert online["chunks"] > 8, online
        # What does not fit the context is named, or left out and counted.
        long = path / "long.csv"
        long.write_text("arrival,prompt_tokens,output_tokens\n0,9,3\n0,100000,3\n")
        expect([*base, "--trace", long], USAGE, "long.csv: 1 request")
        expect([*base, "--trace", long, "--drop-too-long"], OK, "left out")
        long.write_text("arrival,prompt_tokens,output_tokens\n0,9,3\n0,many,3\n")
        expect([*base, "--trace", long], USAGE, "long.csv:3: 'many' is no number of prompt tokens")


if __name__ == "__main__":
    test_replay()
    print("ok")
