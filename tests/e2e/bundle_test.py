"""The bundle runs where nothing of the build is: unpacked into an empty folder, with an empty
environment, its programs load their libraries from it, answer, and serve the demo model.

usage: bundle_test.py BUNDLE.tar.gz
"""

import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request

MOST_BYTES = 60 << 20
STARTED_WITHIN_SECONDS = 60


def check_libraries(program, tree):
    """Every library but those that belong to the machine comes from the tree."""
    out = subprocess.run(["ldd", program], capture_output=True, text=True, check=True, env={"PATH": os.environ["PATH"]})
    machine = ("libc.so", "libm.so", "libpthread.so", "libdl.so", "librt.so", "linux-vdso", "ld-linux")
    for line in out.stdout.splitlines():
        name, _, path = line.strip().partition(" => ")
        if not path or name.startswith(machine):
            continue
        assert path.startswith(str(tree)), f"{program} takes {name} from {path}"


def serve(tree):
    port_file = tree / "port"
    command = [tree / "bin" / "tandem", "serve", "--model", "examples/demo_model/model", "--port", "0"]
    command += ["--port-file", port_file, "--data-dir", tree / "data", "--drain-delay-seconds", "0"]
    with subprocess.Popen(command, cwd=tree, env={"HOME": str(tree)}) as service:
        try:
            end = time.monotonic() + STARTED_WITHIN_SECONDS
            while not port_file.exists():
                assert service.poll() is None, "the service ended"
                assert time.monotonic() < end, "the service does not start"
                time.sleep(0.05)
            body = {"model": "model", "prompt": "The ocean", "max_tokens": 5, "temperature": 0}
            request = urllib.request.Request(
                f"http://127.0.0.1:{port_file.read_text().strip()}/v1/completions",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["usage"]["completion_tokens"] == 5
        finally:
            service.send_signal(signal.SIGINT)
        assert service.wait(timeout=30) == 0


def measure_nothing(tree):
    """Without a GPU, what measures one comes to the programs of the bundle and to their first GPU call."""
    command = [sys.executable, tree / "bench" / "cuda_speed.py", "--out", tree / "speed"]
    done = subprocess.run(command, capture_output=True, text=True, env={"HOME": str(tree)})
    assert done.returncode == 2, done
    for step in ("gpu_check", "serve", "profile"):
        assert f"cuda_speed: {step}: stopped at its first GPU call: " in done.stderr, done
    told = json.loads((tree / "speed" / "cuda_speed.json").read_text())
    assert told["machine"]["revision"] == (tree / "REVISION").read_text().strip(), told["machine"]


def main():
    bundle = pathlib.Path(sys.argv[1]).resolve()
    size = bundle.stat().st_size
    assert size <= MOST_BYTES, f"{size} bytes, at most {MOST_BYTES}"
    with tempfile.TemporaryDirectory(prefix="tandem-bundle-") as scratch:
        with tarfile.open(bundle) as archive:
            archive.extractall(scratch)
        tree = next(pathlib.Path(scratch).resolve().iterdir())
        for name in ("tandem", "gpu_check"):
            check_libraries(tree / "bin" / name, tree)
        version = subprocess.run([tree / "bin" / "tandem", "version"], capture_output=True, text=True, env={})
        assert version.returncode == 0 and "cuda" in version.stdout, version
        checked = subprocess.run([tree / "bin" / "gpu_check", "graph"], capture_output=True, text=True, env={})
        if checked.returncode != 0:
            assert checked.returncode == 2 and "no device to check" in checked.stderr, checked
            measure_nothing(tree)
        serve(tree)
    print(f"{size} bytes; tandem serves and gpu_check answers from an empty folder")


if __name__ == "__main__":
    main()
