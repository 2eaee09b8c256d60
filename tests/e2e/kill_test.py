"""kill -9 of the whole service, again and again, during one batch: every item gets exactly one result,
and all results equal those of an undisturbed run.

usage: kill_test.py TANDEM_BINARY [KILLS] [ITEMS]      (defaults 12 and 60; the full campaign: 100 200)
"""

import random
import sys
import time

from service import Service, main, varied_items

KILLS = int(sys.argv[2]) if len(sys.argv) > 2 else 12
ITEMS = int(sys.argv[3]) if len(sys.argv) > 3 else 60


def texts(lines):
    by_id = {}
    for line in lines:
        assert line["custom_id"] not in by_id, f"{line['custom_id']} has two results"
        assert line["error"] is None and line["response"]["status_code"] == 200, line
        by_id[line["custom_id"]] = line["response"]["body"]["choices"][0]["message"]["content"]
    return by_id


# Few sequences and long answers: the batch has to outlast the kills.
SEQUENCES = 2
OPTIONS = {"max_sequences": SEQUENCES, "threads": 1}


def undisturbed(binary, items):
    """The results without kills, and how long they took."""
    with Service(binary, **OPTIONS) as service:
        started = time.monotonic()
        batch = service.wait_for_batch(service.create_batch(items)["id"], poll=0.02)
        seconds = time.monotonic() - started
        assert batch["status"] == "completed", batch
        return texts(service.output_lines(batch)), seconds


def kills_lose_and_duplicate_nothing(binary):
    items = [{**item, "ignore_eos": True} for item in varied_items(ITEMS, max_tokens=200)]
    expected, seconds = undisturbed(binary, items)
    assert len(expected) == ITEMS
    # The time between two kills is around that of one item: some get nowhere, some finish a few.
    item_seconds = SEQUENCES * seconds / ITEMS
    chance = random.Random(20261121)
    with Service(binary, **OPTIONS) as service:
        batch_id = service.create_batch(items)["id"]
        kills = under_way = 0
        while kills < KILLS:
            time.sleep(chance.uniform(0.0, 1.8 * item_seconds))
            state = service.json("GET", f"/v1/batches/{batch_id}")["status"]
            service.kill()
            kills += 1
            under_way += state in ("validating", "in_progress", "finalizing")
            service.start()
        batch = service.wait_for_batch(batch_id)
        assert batch["status"] == "completed", batch
        assert batch["request_counts"] == {"total": ITEMS, "completed": ITEMS, "failed": 0}, batch
        lines = service.output_lines(batch)
        assert len(lines) == ITEMS, len(lines)
        assert texts(lines) == expected, "a result differs from the undisturbed run"
        print(
            f"{kills} kills, {under_way} of them while the batch was under way; {len(lines)} results, "
            f"each exactly once, all equal to the undisturbed run ({seconds:.1f} s)"
        )
        assert under_way >= KILLS // 2, "the batch ended too early for the kills to mean anything"


if __name__ == "__main__":
    sys.exit(main(sys.argv, kills_lose_and_duplicate_nothing))
