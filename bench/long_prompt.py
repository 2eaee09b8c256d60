#!/usr/bin/env python3
"""By how much a long prompt delays other requests' tokens, on a running service with the demo model.

usage: long_prompt.py TANDEM [--kinds K,…] [--seconds S] [--bytes B] [--streams N] [--option K=V]...

Processes of their own read streams, one after the other without a pause. A prompt is sent, and the
streams are watched until it is answered and 90 ms at least; then they are watched for as long without
a prompt, which says how late tokens are anyway; and so on. The figure of such a slot is the lateness of
the token that is latest in it, against the pace of its stream before the slot: a delay that is spread
over many gaps counts as a whole. Beside it stands the lateness of the slot's longest gap alone.

  unread    the model as it is: so many bytes cannot be 2048 tokens, so they are refused unread
  encoded   a context of 16384 tokens: the prompt is tokenized, found too long, and refused
  served    a context that holds it: the model computes the prompt as well, which takes long
Only the standard library is used.
"""

import argparse
import itertools
import json
import multiprocessing
import pathlib
import random
import shutil
import socket
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from service import DEMO_MODEL, MODEL_NAME, Service  # noqa: E402

PACE_SECONDS = 0.06  # before a slot: what its tokens are held against
WATCHED_SECONDS = 0.09
CONTEXTS = {"encoded": 16384, "served": 131072}
STREAM_TOKENS = {"unread": 1500, "encoded": 12000, "served": 120000}
STATUS = {"unread": 400, "encoded": 400, "served": 200}


def request(body):
    data = json.dumps({"model": MODEL_NAME, **body}).encode()
    head = (
        "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


def read_reply(connection):
    """Status and body of a reply with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            raise RuntimeError("the service closed the connection")
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536)
    return int(head.split()[1]), body


def read_streams(port, number, tokens, stop, results):
    """Puts the times at which tokens arrived into `results`, a list for each call."""
    source = random.Random(number)
    calls = []
    while not stop.is_set():
        with socket.create_connection(("127.0.0.1", port)) as connection:
            body = {"prompt": f"{source.random()}: once upon a time", "seed": 1, "ignore_eos": True}
            connection.sendall(request({**body, "max_tokens": tokens, "stream": True}))
            times, tail = [], b""
            while not stop.is_set():
                data = connection.recv(65536)
                now = time.monotonic()
                tail += data
                times += [now] * tail.count(b"data: {")
                if not data or b"[DONE]" in tail:
                    break
                tail = b"" if tail.endswith(b"\n\n") else tail[-6:]
            calls.append(times[2:])  # the first gaps are the prompt's
    results.put(calls)


def prompts_of(size, count):
    """Prose about the demo model's topics, in another order each time, behind a number of its own."""
    folder = ROOT / "examples" / "demo_model"
    lines = []
    for name in ("topics_nature.txt", "topics_people.txt"):
        lines += (folder / name).read_text(encoding="utf-8").splitlines()
    source = random.Random(7)
    for _ in range(count):
        text = str(source.random())
        while len(text) < size:
            text += " " + source.choice(lines)
        yield request({"prompt": text[:size], "max_tokens": 1})


def model_with_context(folder, context):
    """The demo model with another bound on its context."""
    made = pathlib.Path(folder) / f"context-{context}"
    shutil.copytree(DEMO_MODEL, made)
    config = json.loads((made / "config.json").read_text())
    config["max_position_embeddings"] = context
    (made / "config.json").write_text(json.dumps(config))
    return made


def send_in_slots(service, prompts, expected_status, ends):
    """Sends a prompt in every second slot. Returns (begin, end, seconds to the answer or None)."""
    slots = []
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        for data in prompts:
            begin = time.monotonic()
            if begin > ends:
                break
            connection.sendall(data)
            status, body = read_reply(connection)
            if status != expected_status:
                raise RuntimeError(f"status {status}, not {expected_status}: {body[:300]}")
            answer = time.monotonic() - begin
            length = max(answer, WATCHED_SECONDS)
            time.sleep(length - answer + PACE_SECONDS)
            slots.append((begin, begin + length, answer))
            begin = time.monotonic()
            time.sleep(length + PACE_SECONDS)
            slots.append((begin, begin + length, None))
    return slots


def lateness(times, begin, end):
    """How late the latest token of [begin, end) is, and how much longer than usual the longest gap;
    seconds. Nothing unless the stream ran before and all the time."""
    if not times or times[0] > begin - PACE_SECONDS or times[-1] < end:
        return None
    before = [at for at in times if begin - PACE_SECONDS <= at < begin]
    if len(before) < 3:
        return None
    pace = (before[-1] - before[0]) / (len(before) - 1)
    inside = [at for at in times if begin <= at]
    inside = inside[: sum(at < end for at in inside) + 1]
    late = max(at - before[-1] - count * pace for count, at in enumerate(inside, 1))
    return late, max(b - a for a, b in zip([before[-1], *inside], inside)) - pace


def line(title, values):
    ordered = sorted(1e3 * value for value in values)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return (
        f"  {title:31} {len(ordered):4} slots: mean {statistics.mean(ordered):6.2f}"
        f"  p99 {p99:6.2f}  max {ordered[-1]:6.2f}"
    )


def report(name, calls, slots):
    gaps = [1e3 * (b - a) for times in calls for a, b in zip(times, times[1:])]
    answers = [1e3 * answer for _, _, answer in slots if answer is not None]
    print(f"{name}: {len(gaps)} gaps between tokens, p50 {statistics.median(gaps):.2f};", end=" ")
    print(f"prompts answered after p50 {statistics.median(answers):.1f}, max {max(answers):.1f}")
    found = {True: [], False: []}
    for begin, end, answer in slots:
        late = [lateness(times, begin, end) for times in calls]
        found[answer is not None] += [pair for pair in late if pair]
    for what, title in enumerate(("latest token", "longest gap")):
        for beside, pairs in found.items():
            if pairs:
                values = [pair[what] for pair in pairs]
                print(line(f"{title}, {'beside' if beside else 'without'} a prompt", values))
    sys.stdout.flush()


def measure(name, service, arguments):
    prompts = itertools.cycle(list(prompts_of(arguments.bytes, 50)))
    stop = multiprocessing.Event()
    results = multiprocessing.Queue()
    readers = [
        multiprocessing.Process(
            target=read_streams, args=(service.port, i, STREAM_TOKENS[name], stop, results)
        )
        for i in range(arguments.streams)
    ]
    for reader in readers:
        reader.start()
    time.sleep(0.5)
    ends = time.monotonic() + arguments.seconds
    slots = send_in_slots(service, prompts, STATUS[name], ends)
    stop.set()
    report(name, [times for _ in readers for times in results.get()], slots)
    for reader in readers:
        reader.join()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("binary")
    parser.add_argument("--kinds", default=",".join(STATUS))
    parser.add_argument("--seconds", type=float, default=40, help="for each kind")
    parser.add_argument("--bytes", type=int, default=204800)
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--option", action="append", default=[], help="of the service, KEY=VALUE")
    arguments = parser.parse_args()
    options = dict(option.split("=", 1) for option in arguments.option)
    print(f"prompts of {arguments.bytes} bytes beside {arguments.streams} streams; milliseconds")
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.kinds.split(","):
            model = model_with_context(folder, CONTEXTS[name]) if name in CONTEXTS else DEMO_MODEL
            more = {"kv_cache_bytes": "1GiB"} if name == "served" else {}
            with Service(arguments.binary, model=model, **more, **options) as service:
                measure(name, service, arguments)


if __name__ == "__main__":
    main()
