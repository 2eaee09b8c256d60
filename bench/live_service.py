"""One `tandem serve` on random weights, for benches that measure a live service: starts it on a free port and in a
folder of its own, reads its metrics, stops it. Standard library only."""

import pathlib
import re
import signal
import subprocess
import time
import urllib.request


class NotStarted(SystemExit):
    """A service that ended, or does not listen in time. Unless it is caught, the program ends with its text.

    exit_code: of the service; None if it was still running when the time was over.
    log: what it said, to the end.
    """

    def __init__(self, exit_code, log):
        super().__init__(f"the service did not start:\n{log}")
        self.exit_code, self.log = exit_code, log


class Service:
    """Listens when it is constructed. The model's folder needs no more than a config.json."""

    def __init__(self, binary, folder, model, options, start_seconds=120):
        port_file = folder / "port"
        command = [binary, "serve", "--model", model, "--load-format", "dummy", "--port", "0"]
        command += ["--port-file", port_file, "--data-dir", folder / "store", "--drain-delay-seconds", "0", *options]
        self.log_file = pathlib.Path(folder) / "serve.log"
        self.log = open(self.log_file, "wb")
        self.process = subprocess.Popen([str(part) for part in command], stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + start_seconds
        try:
            while not (port_file.exists() and port_file.read_text().strip()):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise NotStarted(self.process.poll(), self.log_file.read_text(errors="replace"))
                time.sleep(0.05)
        except BaseException:
            self.stop()
            raise
        self.url = f"http://127.0.0.1:{port_file.read_text().strip()}"

    def metrics(self):
        """Every series of /metrics, its labels as they stand there: {'tandem_kv_blocks': 875.0, …}."""
        text = urllib.request.urlopen(self.url + "/metrics", timeout=30).read().decode()
        return {name: float(value) for name, value in re.findall(r"^([^#\s].*) (\S+)$", text, re.MULTILINE)}

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
