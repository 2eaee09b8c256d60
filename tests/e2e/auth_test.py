"""API keys: asked for on every road, never shown, and never an argument.

usage: auth_test.py TANDEM_BINARY
"""

import os
import pathlib
import subprocess
import sys
import tempfile

from service import MODEL_NAME, Service, main

KEY = "sk-0123456789abcdefghij"


def run(binary, *arguments, stdin="", **variables):
    """Returns (exit code, all output) of one run of the program."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")}
    done = subprocess.run(
        [binary, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, **variables},
    )
    return done.returncode, done.stdout + done.stderr


def a_key_as_argument_or_variable_is_refused_unseen(binary):
    for arguments in (["--api-key", KEY], [f"--api-key={KEY}"]):
        code, output = run(binary, "serve", "--model", "m", *arguments)
        assert code == 2 and "--api-key-file" in output and KEY not in output, output
    code, output = run(binary, "serve", "--model", "m", TANDEM_API_KEY=KEY)
    assert code == 2 and "api_key_file" in output and KEY not in output, output
    code, output = run(binary, "serve", "--model", "m", "--api-key-file", "/nonexistent/keys")
    assert code == 2 and "/nonexistent/keys" in output, output


def a_service_with_keys_serves_their_owners_alone(binary):
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "keys"
        file.write_text(f"# for the tests\n{KEY}\n")
        file.chmod(0o644)
        with Service(binary, api_key_file=file, host="0.0.0.0", log_level="debug") as service:
            assert service.status("/livez") == 200 and service.status("/metrics") == 401
            body = {"model": MODEL_NAME, "prompt": "The sea", "max_tokens": 4}
            status, headers, content = service.request("POST", "/v1/completions", body)
            assert status == 401 and b"invalid_api_key" in content, content
            assert headers["WWW-Authenticate"] == "Bearer", headers
            assert service.request("POST", "/tokenize", {"prompt": "The sea"})[0] == 401
            assert service.request("POST", "/detokenize", {"tokens": [1]})[0] == 401
            known = {"Authorization": "Bearer " + KEY}
            assert service.json("POST", "/v1/completions", body, headers=known)["choices"]

            chat = ["chat", "--url", service.url, "--max-tokens", "8"]
            question = "Tell me about bread.\n"
            code, output = run(binary, *chat, stdin=question)
            assert code == 1 and "401" in output, output
            code, output = run(binary, *chat, "--api-key-file", file, stdin=question)
            assert code == 0, output
            bench = ["bench", "--url", service.url, "--num-requests", "2", "--rate", "inf"]
            code, output = run(binary, *bench, "--api-key-file", file, "--output-tokens", "2")
            assert code == 0, output
            log = service.log.read_text()
            assert "api_key_file_open" in log and KEY not in log, log


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            a_key_as_argument_or_variable_is_refused_unseen,
            a_service_with_keys_serves_their_owners_alone,
        )
    )
