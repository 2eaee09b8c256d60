"""The command `tandem tokenize`: text to ids and back, special tokens, and what each wrong line gets.

usage: tokenize_test.py TANDEM_BINARY
"""

import json
import subprocess
import sys

from service import DEMO_MODEL, main

SPECIAL = "<|im_end|>"


def run(binary, *arguments, stdin=""):
    """Returns (exit code, output, errors)."""
    done = subprocess.run(
        [binary, "tokenize", *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


def answers(binary, values, *flags):
    """What it answers to each of `values`, a line of JSON each."""
    given = "".join(json.dumps(value) + "\n" for value in values)
    code, output, errors = run(binary, "--model", DEMO_MODEL, *flags, stdin=given)
    assert code == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def a_text_is_shown_token_by_token(binary):
    code, output, errors = run(binary, "--model", DEMO_MODEL, "Hi \u00fc")
    assert code == 0, errors
    tokens = [line.split("\t") for line in output.splitlines()]
    assert [json.loads(name) for _, name in tokens] == ["H", "i", "\u0120", "\u00c3", "\u00bc"], output
    ids = [int(token) for token, _ in tokens]
    assert answers(binary, ["Hi \u00fc", ids, "", []]) == [ids, "Hi \u00fc", [], ""]


def special_tokens_are_read_and_shown_as_asked(binary):
    (with_end,) = answers(binary, ["Hi" + SPECIAL])
    assert answers(binary, [with_end]) == ["Hi"]
    assert answers(binary, [with_end], "--keep-special") == ["Hi" + SPECIAL]
    (spelled,) = answers(binary, ["Hi" + SPECIAL], "--special-as-text", "--no-special-added")
    assert len(spelled) > len(with_end), spelled
    assert answers(binary, [spelled]) == ["Hi" + SPECIAL]


def a_wrong_line_is_told_so_and_the_next_is_answered(binary):
    for wrong, part in [(7, "array of ids"), ([10**6], "1000000"), ([-1], "-1"), (["a"], '"a"')]:
        refused, next_one = answers(binary, [wrong, [42]])
        assert part in refused["error"] and next_one == "H", (refused, next_one)
    code, output, _ = run(binary, "--model", DEMO_MODEL, stdin="not JSON\n[42]\n")
    refused, next_one = map(json.loads, output.splitlines())
    assert code == 0 and "not JSON" in refused["error"] and next_one == "H", output


def a_wrong_start_is_named(binary):
    code, _, errors = run(binary, "x")
    assert code == 2 and "--model is required" in errors, errors
    code, _, errors = run(binary, "--model", "/nonexistent", "x")
    assert code == 2 and "/nonexistent" in errors, errors


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            a_text_is_shown_token_by_token,
            special_tokens_are_read_and_shown_as_asked,
            a_wrong_line_is_told_so_and_the_next_is_answered,
            a_wrong_start_is_named,
        )
    )
