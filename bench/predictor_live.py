"""How far the latency predictor is off while serving: mixed traffic on a live service, by its own metrics.

usage: predictor_live.py TANDEM [options]

The service gets a model of about 110 M random parameters; `tandem bench` sends online calls beside a batch. Every
iteration is predicted before it is part of any fit, so each error is of an iteration that the model had not seen.
Prints the mean absolute error (MAPE) of each interval and of all behind the first. Standard library only.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time

from colocate_live import MODEL
from live_service import Service


def errors(service):
    """Sum and number of the absolute relative errors so far, and whether the model is held to have drifted."""
    values = service.metrics()
    names = ("tandem_prediction_error_sum", "tandem_prediction_error_count", "tandem_latency_drift")
    return [values.get(name, 0.0) for name in names]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("tandem", help="the program")
    add("--seconds", type=float, default=180, help="how long the traffic lasts")
    add("--intervals", type=int, default=6, help="in how many parts it is judged; the first is the warm-up")
    add("--rate", type=float, default=1.5, help="online requests per second")
    add("--offline-items", type=int, default=2000, help="of the batch beside them; more than are finished")
    add("--profile-seconds", type=float, default=0, help="measure a profile first and serve from it; 0: learn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tandem-predictor-") as scratch:
        folder = pathlib.Path(scratch)
        model = folder / "model"
        model.mkdir()
        (model / "config.json").write_text(json.dumps(MODEL))
        options = ["--kv-cache-bytes", "1GiB", "--max-iteration-tokens", "128"]
        if args.profile_seconds > 0:
            profile = folder / "profile.yaml"
            command = [args.tandem, "profile", "--model", model, "--load-format", "dummy", *options]
            command += ["--seconds", str(args.profile_seconds), "--output", profile]
            subprocess.run(command, check=True, stdout=sys.stderr)
            options += ["--profile-file", profile]
        service = Service(args.tandem, folder, model, options)
        try:
            load = [args.tandem, "bench", "--url", service.url, "--rate", str(args.rate)]
            load += ["--num-requests", "100000", "--duration", str(args.seconds)]
            load += ["--input-tokens", "32:512", "--output-tokens", "16:128"]
            load += ["--offline-items", str(args.offline_items), "--offline-input-tokens", "32:512"]
            client = subprocess.Popen(load, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            before = first = errors(service)
            for part in range(args.intervals):
                time.sleep(args.seconds / args.intervals)
                now = errors(service)
                count = now[1] - before[1]
                mape = 100 * (now[0] - before[0]) / count if count else float("nan")
                print(f"part {part}: {count:.0f} iterations, MAPE {mape:.2f} %, drift {now[2]:.0f}", flush=True)
                before = now
                if part == 0:
                    first = now
            client.kill()
            client.wait()
            count = before[1] - first[1]
            if not count:
                sys.exit("no iteration was predicted behind the first part")
            print(f"behind the first part: {count:.0f} iterations, MAPE {100 * (before[0] - first[0]) / count:.2f} %")
        finally:
            service.stop()


if __name__ == "__main__":
    main()
