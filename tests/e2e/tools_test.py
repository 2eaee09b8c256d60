"""Tools and reasoning end to end: a model that says what a script says, through tokenizer, scheduler,
forward pass and parsers, over HTTP and in batches.

usage: tools_test.py TANDEM_BINARY
"""

import contextlib
import json
import pathlib
import sys
import tempfile

import scripted_model
from service import MODEL_NAME, Service, main

WEATHER = {
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
TOOLS = [{"type": "function", "function": WEATHER}]
FLAT_TOOLS = [{"type": "function", **WEATHER}]
CALLS = [("get_weather", '{"city": "Zürich"}'), ("now", "{}")]
THOUGHT, ANSWER, RESULT = "Well, let me see.", "It is twelve.", "It is cold in Zürich."


@contextlib.contextmanager
def scripted_service(binary, **options):
    with tempfile.TemporaryDirectory(prefix="tandem-scripted-") as folder:
        scripted_model.write_folder(pathlib.Path(folder))
        with Service(binary, model=folder, kv_cache_bytes="16MiB", **options) as service:
            yield service


def chat(service, **more):
    body = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Is it cold?"}], **more}
    return service.json("POST", "/v1/chat/completions", body)


def refused(service, path, **more):
    body = {"model": MODEL_NAME, **more}
    body.setdefault("messages", [{"role": "user", "content": "Hi"}])
    status, _, content = service.request("POST", path, body)
    assert status == 400, (status, content)
    return json.loads(content)["error"]


def called(message):
    calls = message["tool_calls"]
    assert all(call["type"] == "function" and call["id"].startswith("call_") for call in calls), calls
    assert len({call["id"] for call in calls}) == len(calls), calls
    return [(call["function"]["name"], call["function"]["arguments"]) for call in calls]


def events(service, path, body):
    """The objects of a stream's data lines."""
    content = service.request("POST", path, {"model": MODEL_NAME, "stream": True, **body})[2].decode()
    lines = [line[6:] for line in content.splitlines() if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def chats_reason_and_call(binary):
    with scripted_service(binary) as service:
        log = service.log.read_text()
        assert "answer_format tool_parser=hermes reasoning_parser=qwen3" in log, log
        thought = chat(service)
        choice = thought["choices"][0]
        assert choice["finish_reason"] == "stop", choice
        assert choice["message"]["reasoning_content"] == THOUGHT, choice
        assert choice["message"]["content"] == ANSWER, choice
        assert "tool_calls" not in choice["message"], choice
        # <think>, two of thought, </think>, two of the answer and the end.
        assert thought["usage"]["completion_tokens"] == 7, thought["usage"]
        assert thought["usage"]["completion_tokens_details"] == {"reasoning_tokens": 4}

        reply = chat(service, tools=TOOLS)
        choice = reply["choices"][0]
        assert choice["finish_reason"] == "tool_calls", choice
        assert choice["message"]["content"] == "I look.", choice
        assert called(choice["message"]) == CALLS, choice
        assert reply["usage"]["completion_tokens"] == 13, reply["usage"]
        assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}

        # What /tokenize counts is what was charged for; tools count, and kept from the model do not.
        for more, used in (({}, thought), ({"tools": TOOLS}, reply)):
            body = {"messages": [{"role": "user", "content": "Is it cold?"}], **more}
            counted = service.json("POST", "/tokenize", body)["count"]
            assert counted == used["usage"]["prompt_tokens"], (more, counted, used["usage"])
        hidden = service.json("POST", "/tokenize", {**body, "tool_choice": "none"})["count"]
        assert hidden == thought["usage"]["prompt_tokens"], hidden

        # The answer goes back as it came, with what the tools said.
        messages = [{"role": "user", "content": "Is it cold?"}, choice["message"]]
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": "-3"}
            for call in choice["message"]["tool_calls"]
        ]
        after = chat(service, tools=TOOLS, messages=messages)["choices"][0]
        assert after["message"]["content"] == RESULT and after["finish_reason"] == "stop", after


def the_prompt_decides_where_reasoning_begins(binary):
    with scripted_service(binary) as service:
        opened = chat(service, chat_template_kwargs={"enable_thinking": True})
        assert opened["choices"][0]["message"]["reasoning_content"] == THOUGHT, opened
        assert opened["choices"][0]["message"]["content"] == ANSWER, opened
        assert opened["usage"]["completion_tokens_details"] == {"reasoning_tokens": 3}, opened
        closed = chat(service, chat_template_kwargs={"enable_thinking": False})
        assert closed["choices"][0]["message"]["content"] == "\n\n" + ANSWER, closed
        assert "reasoning_content" not in closed["choices"][0]["message"], closed


def streams_add_up_to_the_reply(binary):
    with scripted_service(binary) as service:
        body = {"messages": [{"role": "user", "content": "Hi"}], "stream_options": {"include_usage": True}}
        chunks = events(service, "/v1/chat/completions", {**body, "tools": TOOLS})
        deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
        assert deltas[0]["role"] == "assistant"
        assert "".join(delta.get("content") or "" for delta in deltas) == "I look."
        calls = []
        for part in [part for delta in deltas for part in delta.get("tool_calls", [])]:
            if part["index"] == len(calls):
                calls.append([part["function"]["name"], part["function"]["arguments"]])
                assert part["id"].startswith("call_") and part["type"] == "function"
            else:
                assert part["index"] == len(calls) - 1 and "id" not in part, part
                calls[-1][1] += part["function"]["arguments"]
        assert [tuple(call) for call in calls] == CALLS, calls
        assert sum(len(delta.get("tool_calls", [])) for delta in deltas) >= 4, "no fragments"
        assert [c["choices"][0]["finish_reason"] for c in chunks if c["choices"]][-1] == "tool_calls"
        assert chunks[-1]["usage"]["completion_tokens"] == 13

        deltas = [c["choices"][0]["delta"] for c in events(service, "/v1/chat/completions", body) if c["choices"]]
        assert "".join(delta.get("reasoning_content") or "" for delta in deltas) == THOUGHT
        assert "".join(delta.get("content") or "" for delta in deltas) == ANSWER


def one_call_at_a_time(binary):
    with scripted_service(binary) as service:
        reply = chat(service, tools=TOOLS, parallel_tool_calls=False)
        assert called(reply["choices"][0]["message"]) == CALLS[:1], reply
        assert reply["choices"][0]["finish_reason"] == "tool_calls", reply
        assert reply["usage"]["completion_tokens"] == 7, reply["usage"]


def responses_have_items(binary):
    with scripted_service(binary) as service:
        whole = service.json(
            "POST", "/v1/responses", {"model": MODEL_NAME, "input": "Hi", "tools": FLAT_TOOLS}
        )
        kinds = [item["type"] for item in whole["output"]]
        assert kinds == ["message", "function_call", "function_call"], whole
        assert [(c["name"], c["arguments"]) for c in whole["output"][1:]] == CALLS, whole
        assert whole["tools"][0]["name"] == "get_weather" and whole["status"] == "completed"

        said = events(service, "/v1/responses", {"input": "Hi", "tools": FLAT_TOOLS})
        assert [event["sequence_number"] for event in said] == list(range(len(said)))
        arguments = {}
        for event in said:
            if event["type"] == "response.function_call_arguments.delta":
                index = event["output_index"]
                arguments[index] = arguments.get(index, "") + event["delta"]
        assert arguments == {1: CALLS[0][1], 2: CALLS[1][1]}, arguments
        assert [c["name"] for c in said[-1]["response"]["output"][1:]] == [name for name, _ in CALLS]

        items = [{"role": "user", "content": "Hi"}, *whole["output"]]
        items += [
            {"type": "function_call_output", "call_id": item["call_id"], "output": "-3"}
            for item in whole["output"][1:]
        ]
        after = service.json(
            "POST", "/v1/responses", {"model": MODEL_NAME, "input": items, "tools": FLAT_TOOLS}
        )
        assert after["output"][0]["content"][0]["text"] == RESULT, after

        thought = service.json("POST", "/v1/responses", {"model": MODEL_NAME, "input": "Hi"})
        assert [item["type"] for item in thought["output"]] == ["reasoning", "message"], thought
        assert thought["output"][0]["content"] == [{"type": "reasoning_text", "text": THOUGHT}]
        assert thought["usage"]["output_tokens_details"] == {"reasoning_tokens": 4}, thought
        # What it thought may be sent back.
        again = service.json(
            "POST",
            "/v1/responses",
            {"model": MODEL_NAME, "input": [*thought["output"], {"role": "user", "content": "So?"}]},
        )
        assert again["output"][0]["type"] == "reasoning", again


def batches_carry_the_same(binary):
    with scripted_service(binary) as service:
        user = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Is it cold?"}]}
        unread = {**user, "chat_template_kwargs": {"enable_thoughts": True}}
        batch = service.create_batch([user, {**user, "tools": TOOLS}, unread])
        batch = service.wait_for_batch(batch["id"])
        assert batch["request_counts"] == {"total": 3, "completed": 2, "failed": 1}, batch
        thought, called_tools = [
            line["response"]["body"]["choices"][0] for line in service.output_lines(batch)
        ]
        assert thought["message"]["reasoning_content"] == THOUGHT, thought
        assert called(called_tools["message"]) == CALLS, called_tools
        assert called_tools["finish_reason"] == "tool_calls", called_tools
        assert batch["usage"]["output_tokens"] == 20, batch["usage"]
        assert batch["usage"]["output_tokens_details"] == {"reasoning_tokens": 4}, batch["usage"]
        errors = service.request("GET", f"/v1/files/{batch['error_file_id']}/content")[2].decode()
        failure = json.loads(errors)["response"]["body"]["error"]
        assert failure["param"] == "chat_template_kwargs", failure
        # What is ill-formed fails the batch before anything runs.
        bad = service.create_batch([user, {**user, "tools": [{"type": "x"}]}])
        bad = service.wait_for_batch(bad["id"])
        assert bad["status"] == "failed", bad
        assert bad["errors"]["data"][0]["param"] == "tools[0].type", bad
        assert bad["errors"]["data"][0]["line"] == 2, bad


def what_cannot_be_kept_is_refused(binary):
    with scripted_service(binary) as service:
        path = "/v1/chat/completions"
        assert refused(service, path, tools=TOOLS, tool_choice="required")["param"] == "tool_choice"
        strict = [{"type": "function", "function": {**WEATHER, "strict": True}}]
        assert refused(service, path, tools=strict)["param"] == "tools[0].function.strict"
        unread = refused(service, path, chat_template_kwargs={"enable_thoughts": True})
        assert unread["param"] == "chat_template_kwargs" and "enable_thoughts" in unread["message"]
        hidden = chat(service, tools=TOOLS, tool_choice="none")["choices"][0]
        assert hidden["message"]["content"] == ANSWER, hidden
    with Service(binary) as service:
        unknown = refused(service, "/v1/chat/completions", tools=TOOLS)
        assert unknown["param"] == "tools" and "tool_parser" in unknown["message"], unknown
    with Service(binary, tool_parser="hermes") as service:
        unseen = refused(service, "/v1/chat/completions", tools=TOOLS)
        assert unseen["param"] == "tools" and "does not show tools" in unseen["message"], unseen


def the_options_decide(binary):
    with scripted_service(binary, tool_parser="none", reasoning_parser="none") as service:
        message = chat(service)["choices"][0]["message"]
        assert message["content"] == f"<think>\n{THOUGHT}\n</think>\n\n{ANSWER}", message
        choice = chat(service, tools=TOOLS)["choices"][0]
        assert choice["finish_reason"] == "stop" and '{"name": "get_weather"' in choice["message"]["content"]
    with scripted_service(binary, reasoning_parser="deepseek_r1") as service:
        message = chat(service, tools=TOOLS)["choices"][0]["message"]
        assert message["reasoning_content"].startswith("I look.") and "tool_calls" not in message, message


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            chats_reason_and_call,
            the_prompt_decides_where_reasoning_begins,
            streams_add_up_to_the_reply,
            one_call_at_a_time,
            responses_have_items,
            batches_carry_the_same,
            what_cannot_be_kept_is_refused,
            the_options_decide,
        )
    )
