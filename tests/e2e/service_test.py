"""The service over real sockets: colocation, drain, malformed input, a second process on one store.

usage: service_test.py TANDEM_BINARY
"""

import json
import subprocess
import sys
import threading
import time

from service import DEMO_MODEL, MODEL_NAME, Service, chat_item, free_port, main, varied_items


def error_of(reply):
    status, _, content = reply
    error = json.loads(content)["error"]
    assert set(error) == {"message", "type", "param", "code"}, error
    return status, error


def stream_chat(service, text, max_tokens=32):
    """The chunks of one streamed chat."""
    status, headers, content = service.request(
        "POST",
        "/v1/chat/completions",
        chat_item(text, max_tokens, stream=True, stream_options={"include_usage": True}),
    )
    assert status == 200 and headers["Content-Type"].startswith("text/event-stream"), (
        status,
        headers,
    )
    events = [line[6:] for line in content.decode().split("\n") if line.startswith("data: ")]
    assert events[-1] == "[DONE]", events[-1]
    return [json.loads(event) for event in events[:-1]]


def online_and_offline_share_one_engine(binary):
    with Service(binary) as service:
        alone = "".join(
            c["choices"][0]["delta"].get("content", "")
            for c in stream_chat(service, "Tell me about the ocean.")
            if c["choices"]
        )
        batch = service.create_batch(varied_items(40))
        shared = []
        for _ in range(5):
            chunks = stream_chat(service, "Tell me about the ocean.")
            assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
            assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] > 0
            assert len({c["id"] for c in chunks}) == 1
            shared.append(
                "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
            )
        assert all(text == alone for text in shared), (alone, shared)
        batch = service.wait_for_batch(batch["id"])
        assert batch["request_counts"] == {"total": 40, "completed": 40, "failed": 0}, batch
        assert [line["custom_id"] for line in service.output_lines(batch)] == [
            f"item-{i}" for i in range(40)
        ]


def a_flex_call_is_offline_work(binary):
    with Service(binary) as service:
        reply = service.json(
            "POST", "/v1/chat/completions", chat_item("What is rain?", service_tier="flex")
        )
        assert reply["service_tier"] == "flex", reply
        assert service.metric('tandem_prompt_tokens_total{class="offline"}') > 0


def the_chat_template_keeps_to_its_bounds(binary):
    with Service(binary, template_max_output_bytes="64KiB", max_context=2048) as service:
        service.json("POST", "/v1/chat/completions", chat_item("Hello.", 4))
        reply = service.request("POST", "/v1/chat/completions", chat_item("word " * 14000, 4))
        status, error = error_of(reply)
        assert status == 413, status
        assert "chat template" in error["message"] and "65536 bytes" in error["message"], error


def a_seed_fixes_the_tokens(binary):
    with Service(binary) as service:
        body = {
            "model": MODEL_NAME,
            "prompt": "Once upon a time",
            "max_tokens": 40,
            "temperature": 1.2,
            "seed": 7,
            "n": 2,
            "ignore_eos": True,
        }
        first, second = (service.json("POST", "/v1/completions", body) for _ in range(2))
        texts = [choice["text"] for choice in first["choices"]]
        assert texts == [choice["text"] for choice in second["choices"]]
        assert texts[0] != texts[1], "the choices of one call differ"
        assert second["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0
        assert first["system_fingerprint"].startswith("fp_"), first
        assert first["system_fingerprint"] == second["system_fingerprint"], second


def a_prompt_can_be_computed_ahead(binary):
    with Service(binary) as service:
        prompt = "Tell me about the sea and the rain. " * 12
        body = {"model": MODEL_NAME, "input": prompt, "max_output_tokens": 4}
        ahead = service.json("POST", "/v1/responses", {**body, "generate": False})
        assert ahead["status"] == "completed" and ahead["output"] == [], ahead
        assert ahead["usage"]["output_tokens"] == 0, ahead
        assert ahead["usage"]["input_tokens"] > 64, ahead
        reply = service.json("POST", "/v1/responses", body)
        assert reply["output"][0]["content"][0]["text"], reply
        cached = reply["usage"]["input_tokens_details"]["cached_tokens"]
        assert cached >= ahead["usage"]["input_tokens"] - 16, (cached, ahead["usage"])


def bad_input_gets_one_clear_error(binary):
    with Service(binary) as service:
        post = lambda path, body: error_of(service.request("POST", path, body))
        status, error = post("/v1/chat/completions", b'{"model":')
        assert status == 400, error
        status, error = post("/v1/chat/completions", {**chat_item("hi"), "model": "other"})
        assert (
            status == 404 and error["code"] == "model_not_found" and "other" in error["message"]
        ), error
        status, error = post(
            "/v1/completions", {"model": MODEL_NAME, "prompt": "a", "max_tokens": 10**6}
        )
        assert status == 400 and error["code"] == "context_length_exceeded", error
        status, error = post(
            "/v1/completions", {"model": MODEL_NAME, "prompt": "a", "temperature": 9}
        )
        assert status == 400 and error["param"] == "temperature" and "2" in error["message"], error
        status, error = post(
            "/v1/batches",
            {
                "input_file_id": "file-nowhere",
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        )
        assert status in (400, 404) and "file-nowhere" in error["message"], error
        assert error_of(service.request("GET", "/v1/nothing"))[0] == 404
        assert error_of(service.request("DELETE", "/v1/models"))[0] == 405

        uploaded = service.upload(
            b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"'
            + MODEL_NAME.encode()
            + b'","messages":[{"role":"user","content":"x"}]}}\nnot json\n'
        )
        batch = service.json(
            "POST",
            "/v1/batches",
            {
                "input_file_id": uploaded["id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
            },
        )
        batch = service.wait_for_batch(batch["id"])
        assert batch["status"] == "failed" and batch["errors"]["data"][0]["line"] == 2, batch
        assert service.status("/readyz") == 200


def text_becomes_tokens_and_tokens_text(binary):
    with Service(binary, inline_encode_bytes="1KiB") as service:
        text = "The ocean is deep. \u00fc\U0001f30a"
        reply = service.json("POST", "/tokenize", {"prompt": text, "return_token_strs": True})
        assert set(reply) == {"count", "max_model_len", "tokens", "token_strs"}, reply
        assert reply["count"] == len(reply["tokens"]) == len(reply["token_strs"]), reply
        models = service.json("GET", "/v1/models")["data"]
        assert reply["max_model_len"] == models[0]["max_model_len"], reply
        printed = subprocess.run(
            [binary, "tokenize", "--model", DEMO_MODEL, text], capture_output=True, text=True
        ).stdout
        lines = [line.split("\t") for line in printed.splitlines()]
        assert [int(line[0]) for line in lines] == reply["tokens"], printed
        assert [json.loads(line[1]) for line in lines] == reply["token_strs"], printed
        bare = service.json("POST", "/tokenize", {"prompt": text, "add_special_tokens": False})
        assert bare["token_strs"] is None
        assert service.json("POST", "/detokenize", {"tokens": bare["tokens"]}) == {"prompt": text}

        # What is counted is what a generation is charged for, and its tokens go as a prompt.
        chat = chat_item("Tell me about rain.", 4)
        counted = service.json("POST", "/tokenize", {"messages": chat["messages"]})
        used = service.json("POST", "/v1/chat/completions", chat)["usage"]["prompt_tokens"]
        assert counted["count"] == used, (counted, used)
        headless = service.json(
            "POST", "/tokenize", {"messages": chat["messages"], "add_generation_prompt": False}
        )
        assert headless["tokens"] == counted["tokens"][: headless["count"]]
        assert headless["count"] < counted["count"]
        body = {"model": MODEL_NAME, "prompt": counted["tokens"], "max_tokens": 1}
        assert service.json("POST", "/v1/completions", body)["usage"]["prompt_tokens"] == used

        # Longer than the context: refused as a prompt, counted here, by an encoder.
        long_text = "word " * 40000
        refused = [
            ("/v1/completions", {"prompt": long_text}, "the prompt alone has at least"),
            ("/v1/chat/completions", chat_item(long_text), "the conversation alone has at least"),
        ]
        for path, body, part in refused:
            reply = service.request("POST", path, {"model": MODEL_NAME, **body})
            status, error = error_of(reply)
            assert status == 400 and error["code"] == "context_length_exceeded", error
            assert part in error["message"], error
        encoded = 'tandem_request_encode_seconds_count{class="online"}'
        before = service.metric(encoded)
        reply = service.json("POST", "/tokenize", {"prompt": long_text})
        assert reply["count"] > reply["max_model_len"], reply["count"]
        assert service.metric(encoded) == before + 1
        back = service.json("POST", "/detokenize", {"tokens": reply["tokens"]})
        assert long_text in back["prompt"]
        status, error = error_of(service.request("POST", "/detokenize", {"tokens": [10**6]}))
        assert status == 400 and error["param"] == "tokens", error
        status, error = error_of(service.request("POST", "/tokenize", {"prompt": "a", "model": "b"}))
        assert status == 404 and error["param"] == "model", error


def a_drain_finishes_streams_and_exits_0(binary):
    with Service(binary) as service:
        answers = []
        worker = threading.Thread(
            target=lambda: answers.append(stream_chat(service, "Tell me a story.", 400))
        )
        worker.start()
        while service.metric('tandem_num_requests_running{class="online"}') == 0:
            time.sleep(0.002)
        assert service.terminate() == 0
        worker.join()
        assert answers and answers[0][-1]["usage"]["completion_tokens"] > 0


def work_survives_a_clean_restart(binary):
    with Service(binary, max_sequences=2) as service:
        batch = service.create_batch(varied_items(30))
        assert service.terminate() == 0
        service.start()
        batch = service.wait_for_batch(batch["id"])
        assert batch["request_counts"]["completed"] == 30, batch


def outputs_expire_when_the_batch_says_so(binary):
    with Service(binary) as service:
        expiry = {"anchor": "created_at", "seconds": 7200}
        batch = service.create_batch(varied_items(2, 4), output_expires_after=expiry)
        batch = service.wait_for_batch(batch["id"])
        assert batch["status"] == "completed", batch
        output = service.json("GET", f"/v1/files/{batch['output_file_id']}")
        assert output["expires_at"] == output["created_at"] + 7200, output
        plain = service.wait_for_batch(service.create_batch(varied_items(2, 4))["id"])
        assert "expires_at" not in service.json("GET", f"/v1/files/{plain['output_file_id']}")
        reply = service.request(
            "POST",
            "/v1/batches",
            {
                "input_file_id": batch["input_file_id"],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "output_expires_after": {"anchor": "created_at", "seconds": 60},
            },
        )
        status, error = error_of(reply)
        assert status == 400 and error["param"] == "output_expires_after.seconds", (status, error)


def run_to_exit(binary, *arguments):
    done = subprocess.run([binary, *arguments], capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr


def a_port_in_use_and_a_store_in_use_are_named(binary):
    with Service(binary) as service:
        model = ["--model", str(DEMO_MODEL)]
        code, text = run_to_exit(
            binary,
            "serve",
            *model,
            "--port",
            str(service.port),
            "--data-dir",
            str(service.data_dir / "other"),
        )
        assert code == 1 and str(service.port) in text, (code, text)
        code, text = run_to_exit(
            binary,
            "serve",
            *model,
            "--port",
            str(free_port()),
            "--data-dir",
            str(service.data_dir / "store"),
        )
        assert code == 1 and str(service.data_dir / "store") in text, (code, text)


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            online_and_offline_share_one_engine,
            a_flex_call_is_offline_work,
            the_chat_template_keeps_to_its_bounds,
            a_seed_fixes_the_tokens,
            a_prompt_can_be_computed_ahead,
            bad_input_gets_one_clear_error,
            text_becomes_tokens_and_tokens_text,
            a_drain_finishes_streams_and_exits_0,
            work_survives_a_clean_restart,
            outputs_expire_when_the_batch_says_so,
            a_port_in_use_and_a_store_in_use_are_named,
        )
    )
