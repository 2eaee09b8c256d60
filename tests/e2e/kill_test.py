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


def undisturbed(binary, items):
    with Service(binary) as service:
        batch = service.wait_for_batch(service.create_batch(items)["id"])
        assert batch["status"] == "completed", batch
        return texts(service.output_lines(batch))


def kills_lose_and_duplicate_nothing(binary):
    items = varied_items(ITEMS, max_tokens=64)
    expected = undisturbed(binary, items)
    assert len(expected) == ITEMS
    # A small iteration and few sequences at once make the batch outlast the kills.
    chance = random.Random(20261121)
    with Service(binary, max_sequences=2, max_iteration_tokens=64) as service:
        batch_id = service.create_batch(items)["id"]
        kills = alive_kills = 0
        while kills < KILLS:
            time.sleep(chance.uniform(0.0, 0.25))
            state = service.json("GET", f"/v1/batches/{batch_id}")["status"]
            service.kill()
            kills += 1
            alive_kills += state in ("validating", "in_progress", "finalizing")
            service.start()
        batch = service.wait_for_batch(batch_id)
        assert batch["status"] == "completed", batch
        assert batch["request_counts"] == {"total": ITEMS, "completed": ITEMS, "failed": 0}, batch
        lines = service.output_lines(batch)
        assert len(lines) == ITEMS, len(lines)
        assert texts(lines) == expected, "a result differs from the undisturbed run"
        print(
            f"{kills} kills, {alive_kills} of them while the batch was under way; "
            f"{len(lines)} results, each exactly once, all equal to the undisturbed run"
        )
        assert alive_kills >= KILLS // 2, "the batch ended too early for the kills to mean anything"


if __name__ == "__main__":
    sys.exit(main(sys.argv, kills_lose_and_duplicate_nothing))
