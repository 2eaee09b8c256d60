"""Starts the built `tandem serve` for an end-to-end test and talks to it with the standard library."""

import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO_MODEL = ROOT / "examples" / "demo_model" / "model"
MODEL_NAME = "tandem-demo"


class Service:
    """One process of the service on a free port, with a data folder that outlives restarts."""

    def __init__(self, binary, data_dir=None, model=DEMO_MODEL, **options):
        self.binary = binary
        self.model = model
        self.owns_data = data_dir is None
        self.data_dir = pathlib.Path(data_dir or tempfile.mkdtemp(prefix="tandem-e2e-"))
        self.options = {"drain_delay_seconds": 0, **options}
        self.process = None
        self.port = None
        self.log = self.data_dir.parent / (self.data_dir.name + ".log")

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if kind is not None and self.log.exists():
            print("--- service log (end) ---")
            print(self.log.read_text(errors="replace")[-6000:])
        if self.process and self.process.poll() is None:
            self.kill()
        if self.owns_data:
            shutil.rmtree(self.data_dir, ignore_errors=True)
            self.log.unlink(missing_ok=True)

    def start(self, wait_seconds=60):
        port_file = self.data_dir / "port"
        port_file.unlink(missing_ok=True)
        command = [
            str(self.binary),
            "serve",
            "--model",
            str(self.model),
            "--served-model-name",
            MODEL_NAME,
            "--port",
            "0",
            "--port-file",
            str(port_file),
            "--data-dir",
            str(self.data_dir / "store"),
        ]
        for key, value in self.options.items():
            command += ["--" + key.replace("_", "-"), str(value)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the service ended with {self.process.returncode}, see {self.log}"
                )
            if port_file.exists() and port_file.read_text().strip():
                self.port = int(port_file.read_text())
                if self.status("/readyz") == 200:
                    return self
            time.sleep(0.005)
        raise RuntimeError(f"the service was not ready within {wait_seconds} s, see {self.log}")

    def kill(self):
        """SIGKILL: no goodbye."""
        self.process.kill()
        self.process.wait()

    def terminate(self, wait_seconds=60):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(wait_seconds)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, headers=None, timeout=120):
        """Returns (status, headers, bytes). A dict body is sent as JSON."""
        headers = dict(headers or {})
        if isinstance(body, dict):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        request = urllib.request.Request(self.url + path, data=body, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as reply:
                return reply.status, dict(reply.headers), reply.read()
        except urllib.error.HTTPError as reply:
            return reply.code, dict(reply.headers), reply.read()

    def json(self, method, path, body=None, **more):
        status, _, content = self.request(method, path, body, **more)
        if status != 200:
            raise RuntimeError(f"{method} {path}: {status} {content[:500]!r}")
        return json.loads(content)

    def status(self, path):
        try:
            return self.request("GET", path, timeout=5)[0]
        except OSError:
            return None

    def metric(self, name):
        """The value of one series, e.g. 'tandem_kv_blocks_free'."""
        text = self.request("GET", "/metrics")[2].decode()
        for line in text.splitlines():
            if line.rsplit(" ", 1)[0] == name:
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def upload(self, content, purpose="batch", filename="items.jsonl"):
        boundary = "tandem-e2e-boundary"
        body = (
            (
                f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n{purpose}\r\n'
                f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n"
            ).encode()
            + content
            + f"\r\n--{boundary}--\r\n".encode()
        )
        return self.json(
            "POST",
            "/v1/files",
            body,
            headers={"Content-Type": f"multipart/form-data; boundary={boundary}"},
        )

    def create_batch(self, items, endpoint="/v1/chat/completions", **more):
        """Uploads `items` (a list of request bodies) and creates the batch; custom ids are item-0, item-1, …
        `more` are further fields of the call."""
        lines = [
            json.dumps({"custom_id": f"item-{i}", "method": "POST", "url": endpoint, "body": body})
            for i, body in enumerate(items)
        ]
        uploaded = self.upload("\n".join(lines).encode())
        return self.json(
            "POST",
            "/v1/batches",
            {
                "input_file_id": uploaded["id"],
                "endpoint": endpoint,
                "completion_window": "24h",
                **more,
            },
        )

    def wait_for_batch(self, batch_id, wait_seconds=300, poll=0.1):
        deadline = time.monotonic() + wait_seconds
        while time.monotonic() < deadline:
            batch = self.json("GET", f"/v1/batches/{batch_id}")
            if batch["status"] in ("completed", "failed", "expired", "cancelled"):
                return batch
            time.sleep(poll)
        raise RuntimeError(f"batch {batch_id} did not end within {wait_seconds} s: {batch}")

    def output_lines(self, batch):
        content = self.request("GET", f"/v1/files/{batch['output_file_id']}/content")[2]
        return [json.loads(line) for line in content.decode().splitlines()]


def chat_item(text, max_tokens=24, **more):
    return {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": max_tokens,
        "temperature": 0,
        **more,
    }


TOPICS = [
    "the ocean",
    "a bakery",
    "the moon",
    "a fox",
    "bread",
    "the rain",
    "a library",
    "winter",
    "a river",
    "honey",
    "a garden",
    "the night",
]


def varied_items(count, max_tokens=24):
    """`count` greedy chat items, all different."""
    return [
        chat_item(f"Tell me about {TOPICS[i % len(TOPICS)]}. Number {i}.", max_tokens)
        for i in range(count)
    ]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main(argv, *tests):
    """Runs the test functions with the path of the binary; prints one line each and the closing count."""
    binary = os.path.abspath(argv[1])
    failed = 0
    for test in tests:
        started = time.monotonic()
        try:
            test(binary)
            print(f"ok    {test.__name__} ({time.monotonic() - started:.1f} s)", flush=True)
        except Exception as problem:  # a failure must not hide the tests behind it
            failed += 1
            print(f"FAIL  {test.__name__}: {type(problem).__name__}: {problem}", flush=True)
    print(f"{len(tests) - failed} passed, {failed} failed")
    return 1 if failed else 0
