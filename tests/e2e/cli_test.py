"""The command line: what each wrong start says and returns, how the service ends, and the clients.

usage: cli_test.py TANDEM_BINARY
"""

import contextlib
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading

from service import DEMO_MODEL, MODEL_NAME, ROOT, Service, chat_item

BINARY = str(pathlib.Path(sys.argv[1]).resolve())
OK, FAILED, USAGE = 0, 1, 2


def run(*arguments, stdin="", env=None, timeout=60):
    """Returns (exit code, stdout, stderr) of one run of the program."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TANDEM_")}
    done = subprocess.run(
        [BINARY, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**clean, **(env or {})},
    )
    return done.returncode, done.stdout, done.stderr


def expect(arguments, code, *parts, **more):
    got, out, err = run(*arguments, **more)
    assert got == code, f"{arguments}: exit code {got}, not {code}\n{out}\n{err}"
    for part in parts:
        assert part in out + err, f"{arguments}: no {part!r} in\n{out}\n{err}"
    return out, err


@contextlib.contextmanager
def folder():
    path = pathlib.Path(tempfile.mkdtemp(prefix="tandem-cli-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


def model_copy(path, **replaced):
    """The demo model's folder with some files replaced (None: removed)."""
    shutil.copytree(DEMO_MODEL, path)
    for name, content in replaced.items():
        file = path / name.replace("__", ".")
        file.unlink()
        if content is not None:
            file.write_bytes(content)
    return path


def test_usage():
    expect([], USAGE, "A subcommand is required")
    expect(["fly"], USAGE, "fly")
    expect(["serve", "--prot", "1"], USAGE, "did you mean 'port'?")
    out, _ = expect(["serve", "--model", "m", "--port", "1", "--port", "2", "--print-config"], OK)
    assert "\nport: 2 " in out, "the last of a repeated flag counts"
    expect(["serve"], USAGE, "model: must name a Hugging Face model folder")
    expect(
        ["serve", "--model", "m", "--port", "70000"],
        USAGE,
        "command line --port: port: '70000' is not allowed; allowed: an integer in 0 .. 65535",
    )
    expect(
        ["serve", "--model", "m"],
        USAGE,
        "environment TANDEM_MAX_SEQUENCES",
        "'many'",
        env={"TANDEM_MAX_SEQUENCES": "many"},
    )
    expect(["serve", "--model", "m", "--host", "0.0.0.0"], USAGE, "insecure: true", "api_key_file")
    if not shutil.which("nvidia-smi"):
        _, said = expect(["serve", "--model", DEMO_MODEL, "--device", "cuda"], USAGE, "device: cuda: ")
        assert "no NVIDIA driver" in said or "without the CUDA toolkit" in said, said
    expect(
        ["serve", "--config", "/nonexistent/tandem.yaml"],
        USAGE,
        "/nonexistent/tandem.yaml: cannot be read",
    )
    out, _ = expect(["serve", "--help"], OK, "--max-sequences", "--kv-cache-bytes")
    for key in yaml_keys((ROOT / "config" / "default.yaml").read_text()):
        assert "--" + key.replace("_", "-") in out, key
    expect(["--version"], OK, "tandem ")
    expect(["version"], OK, "build", "compiler", "cuda", "kernels", "portable", "sqlite")


def yaml_keys(text):
    return [line.split(":")[0] for line in text.splitlines() if line and not line.startswith("#")]


def test_config_commands():
    defaults, _ = expect(["serve", "--print-defaults"], OK)
    assert defaults == (ROOT / "config" / "default.yaml").read_text()
    with folder() as path:
        file = path / "tandem.yaml"
        file.write_text("model: m\nport: 1\nmax_sequences: 3\n")
        out, _ = expect(
            [
                "serve",
                "--config",
                file,
                "--port",
                "2",
                "--insecure",
                "--prefix-cache",
                "false",
                "--print-config",
            ],
            OK,
            env={"TANDEM_THREADS": "4"},
        )
        values = {line.split(":")[0]: line.split(": ", 1)[1] for line in out.splitlines()}
        assert list(values) == yaml_keys(defaults)
        for key, value, origin in [
            ("port", "2", "command line --port"),
            ("insecure", "true", "command line --insecure"),
            ("prefix_cache", "false", "command line --prefix-cache"),
            ("threads", "4", "environment TANDEM_THREADS"),
            ("max_sequences", "3", f"{file}:3"),
            ("model", f'"{path}/m"', f"{file}:1"),
            ("host", '"127.0.0.1"', "default"),
        ]:
            assert values[key].split(" ")[0] == value and values[key].endswith(
                "# " + origin
            ), values[key]
        file.write_text("prot: 1\nport: x\n")
        expect(
            ["serve", "--config", file, "--check-config"],
            USAGE,
            f"{file}:1: unknown key 'prot'",
            f"{file}:2: port",
        )
    expect(["serve", "--model", DEMO_MODEL, "--check-config"], OK, "usable")
    expect(
        ["serve", "--config", ROOT / "config" / "quickstart.yaml", "--check-config"], OK, MODEL_NAME
    )


def test_model_folders():
    weights = (DEMO_MODEL / "model.safetensors").read_bytes()
    config = json.loads((DEMO_MODEL / "config.json").read_text())
    tensors = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    one = next(name for name in tensors if name.endswith("q_proj.weight"))
    lying = json.dumps({**tensors, one: {**tensors[one], "data_offsets": [0, 1 << 60]}}).encode()
    cases = [
        ({"config__json": None}, ["config.json"]),
        ({"config__json": b"{"}, ["config.json"]),
        (
            {"config__json": json.dumps({**config, "architectures": ["GPT2LMHeadModel"]}).encode()},
            ["GPT2LMHeadModel"],
        ),
        (
            {
                "config__json": json.dumps(
                    {**config, "hidden_size": config["hidden_size"] * 2}
                ).encode()
            },
            [],
        ),
        ({"model__safetensors": None}, ["safetensors"]),
        ({"model__safetensors": weights[:-1000]}, ["model.safetensors"]),
        ({"model__safetensors": b"\xff" * 8 + weights[8:]}, ["model.safetensors"]),
        ({"model__safetensors": len(lying).to_bytes(8, "little") + lying}, ["model.safetensors"]),
        ({"model__safetensors": b""}, ["model.safetensors"]),
        ({"tokenizer__json": None}, ["tokenizer.json"]),
        ({"tokenizer__json": b"[]"}, ["tokenizer.json"]),
    ]
    for replaced, parts in cases:
        with folder() as path:
            model = model_copy(path / "model", **replaced)
            for mode in (["--check-config"], ["--data-dir", path / "store", "--port", "0"]):
                expect(["serve", "--model", model, *mode], USAGE, "start_failed", *parts)
    expect(["serve", "--model", "/nonexistent"], USAGE, "/nonexistent")


def test_store_and_port():
    with Service(BINARY) as first, folder() as path:
        arguments = ["serve", "--model", DEMO_MODEL]
        store = first.data_dir / "store"
        expect(
            [*arguments, "--port", "0", "--data-dir", store],
            FAILED,
            "start_failed",
            str(store),
            str(first.process.pid),
        )
        expect(
            [*arguments, "--port", first.port, "--data-dir", path / "other"],
            FAILED,
            "start_failed",
            str(first.port),
        )
        assert first.status("/readyz") == 200, "the first one must not have noticed"
        file = path / "file"
        file.write_text("in the way")
        expect(
            [*arguments, "--port", "0", "--data-dir", file / "store"],
            FAILED,
            "start_failed",
            str(file),
        )


def test_kv_cache_and_dummy_weights():
    with Service(BINARY, kv_cache_bytes="1MiB") as service:
        assert "max_context_lowered" in service.log.read_text()
        limit = service.json("GET", "/v1/models")["data"][0]["max_model_len"]
        assert (
            0
            < limit
            < json.loads((DEMO_MODEL / "config.json").read_text())["max_position_embeddings"]
        )
        body = {
            "model": MODEL_NAME,
            "prompt": [5] * (limit - 4),
            "max_tokens": 4,
            "ignore_eos": True,
        }
        assert service.json("POST", "/v1/completions", body)["usage"]["completion_tokens"] == 4
        body["prompt"] += [5]
        status, _, content = service.request("POST", "/v1/completions", body)
        assert status == 400 and b"context_length_exceeded" in content, (status, content)
    with folder() as path:
        model = model_copy(path / "model", model__safetensors=None, tokenizer__json=None)
        with Service(BINARY, model=model, load_format="dummy", seed="3") as service:
            body = {"model": MODEL_NAME, "prompt": [1, 2, 3], "max_tokens": 5, "ignore_eos": True}
            assert service.json("POST", "/v1/completions", body)["usage"]["completion_tokens"] == 5


def test_json_logs():
    with Service(BINARY, log_format="json", log_level="debug") as service:
        service.json("POST", "/v1/chat/completions", chat_item("What is a bakery?", 4))
        assert service.terminate() == OK
        lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    events = {line.get("event"): line for line in lines}
    assert all({"ts", "level", "msg"} <= set(line) for line in lines)
    assert events["serving"]["model"] == MODEL_NAME
    assert int(events["serving"]["pid"]) == service.process.pid
    assert events["drain_began"]["signal"] == "SIGTERM"
    assert events["stopped"]["exit_code"] == "0"


def stream(port, max_tokens):
    """A socket on which a completion streams, its first bytes read."""
    body = json.dumps(
        {
            "model": MODEL_NAME,
            "prompt": "Tell me",
            "max_tokens": max_tokens,
            "ignore_eos": True,
            "stream": True,
        }
    ).encode()
    connection = socket.create_connection(("127.0.0.1", port))
    connection.sendall(
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    return connection, connection.recv(4096)


def read_rest(connection):
    text = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            text += piece
    return text


def test_drain():
    # A running stream is finished, new calls are refused meanwhile, and the exit code is 0.
    with Service(BINARY, threads="1") as service:
        connection, start = stream(service.port, 1500)
        assert b"200 OK" in start
        service.process.send_signal(signal.SIGTERM)
        rest = read_rest(connection)
        assert b"data: [DONE]" in rest, rest[-300:]
        assert service.process.wait(30) == OK
        assert "drain_ended calls_cut_off=0" in service.log.read_text()
    # Without time to drain, what runs is cut off; still an orderly end.
    with Service(BINARY, threads="1", drain_timeout_seconds="0") as service:
        connection, _ = stream(service.port, 1900)
        service.process.send_signal(signal.SIGINT)
        rest = read_rest(connection)
        assert b"data: [DONE]" not in rest
        assert service.process.wait(30) == OK
    # Before it refuses anything it says that it is not ready.
    with Service(BINARY, drain_delay_seconds="600") as service:
        service.process.send_signal(signal.SIGTERM)
        while service.status("/readyz") != 503:
            pass
        body = {"model": MODEL_NAME, "prompt": "Tell me", "max_tokens": 2}
        assert service.json("POST", "/v1/completions", body)["choices"]
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == FAILED
    # A second signal ends it at once.
    with Service(BINARY, threads="1") as service:
        connections = [stream(service.port, 1900)[0] for _ in range(8)]
        service.process.send_signal(signal.SIGTERM)
        while "drain_began" not in service.log.read_text():
            pass
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(30) == FAILED
        assert "second signal" in service.log.read_text()
        for connection in connections:
            connection.close()


def test_chat():
    expect(["chat", "--url", "https://x"], USAGE, "TLS")
    expect(["chat", "--url", "http://127.0.0.1:1"], FAILED, "cannot connect to 127.0.0.1:1")
    with Service(BINARY) as service:
        chat = ["chat", "--url", service.url, "--temperature", "0"]
        out, err = expect(chat, OK, stdin="What is a bakery?\n")
        assert "baker" in out.lower() and out.count("\n") == 1, out
        two, _ = expect(
            chat,
            OK,
            stdin="What is a bakery?\n\n/reset\nWhat is a bakery?\n/quit\nTell me about bread.\n",
        )
        assert two == out * 2, two
        expect([*chat, "--max-tokens", "3"], OK, "incomplete", stdin="What is a bakery?\n")
        expect([*chat, "--model", "other"], FAILED, "other", stdin="hello\n")
        interrupt_chat(service)


def interrupt_chat(service):
    """Ctrl-C in a terminal stops the answer and not the program."""
    terminal, inside = pty.openpty()
    process = subprocess.Popen(
        [BINARY, "chat", "--url", service.url, "--temperature", "0"],
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    os.close(inside)
    errors = []
    reader = threading.Thread(
        target=lambda: errors.extend(iter(lambda: os.read(process.stderr.fileno(), 4096), b""))
    )
    reader.start()
    os.write(terminal, b"Write a short story about a fox.\n")
    assert os.read(process.stdout.fileno(), 1), "the answer must begin"
    process.send_signal(signal.SIGINT)
    os.write(terminal, b"/quit\n")
    rest = process.stdout.read()
    assert process.wait(30) == OK, (rest, errors)
    reader.join()
    os.close(terminal)
    text = b"".join(errors)
    # The answer may have been over by then: then the signal came at the prompt.
    assert b"(cancelled" in text or b"/quit ends" in text, text
    process.stdout.close()
    process.stderr.close()


def test_bench():
    for wrong, part in [
        (["--rate", "fast"], "fast"),
        (["--input-tokens", "0"], "'0'"),
        (["--goodput", "x:1"], "x:1"),
        (["--trace", "/nonexistent"], "/nonexistent"),
        (["--url", "ftp://x"], "ftp"),
        (["--offline-mode", "x"], "offline-mode"),
    ]:
        expect(["bench", *wrong], USAGE, part)
    expect(["bench", "--url", "http://127.0.0.1:1"], FAILED, "cannot connect")
    with Service(BINARY) as service, folder() as path:
        result = path / "result.json"
        base = ["bench", "--url", service.url, "--json", result]
        out, err = expect(
            [
                *base,
                "--rate",
                "50",
                "--num-requests",
                "20",
                "--input-tokens",
                "8:16",
                "--output-tokens",
                "8",
                "--goodput",
                "ttft:60000,tbt:60000",
                "--offline-items",
                "10",
                "--offline-output-tokens",
                "4",
                "--every-token",
            ],
            OK,
            "TTFT",
            "TBT",
            "goodput",
            "offline",
            "30/30",
        )
        got = json.loads(result.read_text())
        online = got["online"]
        assert (online["completed"], online["failed"], online["good"]) == (20, 0, 20), online
        assert online["output_tokens"] == 160 and online["chunks"] == 160, online
        assert 160 <= online["prompt_tokens"] <= 320
        assert online["tbt_ms"]["count"] == 140 and online["ttft_ms"]["count"] == 20
        assert got["offline"]["completed"] == 10 and got["offline"]["output_tokens"] == 40, got[
            "offline"
        ]
        assert got["definitions"] in out
        expect(
            [
                *base,
                "--num-requests",
                "0",
                "--offline-items",
                "5",
                "--offline-mode",
                "flex",
                "--offline-output-tokens",
                "3",
            ],
            OK,
            "items completed",
        )
        assert json.loads(result.read_text())["offline"]["output_tokens"] == 15
        expect([*base, "--num-requests", "0"], USAGE, "nothing to send")
        trace = path / "trace.csv"
        trace.write_text(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.0000000,9,3\n"
            "2023-11-16 18:15:47.0000000,11,5\n"
        )
        expect([*base, "--trace", trace, "--trace-speed", "10"], OK)
        online = json.loads(result.read_text())["online"]
        assert (online["prompt_tokens"], online["output_tokens"]) == (20, 8), online
        assert online["seconds"] >= 0.1
        expect(
            [*base, "--rate", "inf", "--num-requests", "3", "--input-tokens", "100000"],
            FAILED,
            "status 400",
        )
        prompts = path / "prompts.txt"
        prompts.write_text("Once upon a time\n\nThe ocean\n")
        expect(
            [
                *base,
                "--rate",
                "inf",
                "--num-requests",
                "4",
                "--prompt-file",
                prompts,
                "--output-tokens",
                "2",
                "--max-concurrency",
                "1",
            ],
            OK,
        )
        assert json.loads(result.read_text())["online"]["completed"] == 4


TESTS = [
    test_usage,
    test_config_commands,
    test_model_folders,
    test_store_and_port,
    test_kv_cache_and_dummy_weights,
    test_json_logs,
    test_drain,
    test_chat,
    test_bench,
]

if __name__ == "__main__":
    for test in TESTS:
        if len(sys.argv) < 3 or test.__name__ in sys.argv[2:]:
            test()
            print("passed", test.__name__, flush=True)
