"""The official `openai` Python client, unmodified, against the service.

usage: openai_python_test.py TANDEM_BINARY     (with a Python that has the packages openai and websockets)
"""

import io
import json
import sys
import time

import openai

from tools_test import ANSWER, CALLS, FLAT_TOOLS, RESULT, THOUGHT, TOOLS, scripted_service
from service import MODEL_NAME, Service, chat_item, main


def client_of(service):
    return openai.OpenAI(base_url=service.url + "/v1", api_key="none", max_retries=0, timeout=60)


def models(binary):
    with Service(binary) as service:
        client = client_of(service)
        assert [model.id for model in client.models.list()] == [MODEL_NAME]
        assert client.models.retrieve(MODEL_NAME).object == "model"
        try:
            client.models.retrieve("other")
            raise AssertionError("an unknown model was found")
        except openai.NotFoundError as problem:
            assert problem.code == "model_not_found", problem.code


def chat_streaming_with_usage(binary):
    with Service(binary) as service:
        client = client_of(service)
        stream = client.chat.completions.create(
            model=MODEL_NAME,
            messages=[{"role": "user", "content": "Tell me about the ocean."}],
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=40,
            temperature=0,
        )
        text, usage, reasons = "", None, []
        for chunk in stream:
            if chunk.usage:
                usage = chunk.usage
            for choice in chunk.choices:
                text += choice.delta.content or ""
                reasons += [choice.finish_reason] if choice.finish_reason else []
        assert text.strip() and reasons in (["stop"], ["length"]), (text, reasons)
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens, usage
        whole = client.chat.completions.create(
            model=MODEL_NAME,
            messages=[{"role": "user", "content": "Tell me about the ocean."}],
            max_completion_tokens=40,
            temperature=0,
            logprobs=True,
            top_logprobs=3,
        )
        assert whole.choices[0].message.content == text
        assert whole.usage.completion_tokens == usage.completion_tokens
        entries = whole.choices[0].logprobs.content
        assert entries and all(len(e.top_logprobs) == 3 and e.logprob <= 0 for e in entries)


def completions(binary):
    with Service(binary) as service:
        client = client_of(service)
        reply = client.completions.create(
            model=MODEL_NAME,
            prompt=["The ocean is", "A fox is"],
            n=2,
            max_tokens=8,
            seed=5,
            logprobs=2,
        )
        assert [choice.index for choice in reply.choices] == [0, 1, 2, 3]
        assert all(
            len(choice.logprobs.tokens) == len(choice.logprobs.token_logprobs)
            for choice in reply.choices
        )
        pieces = [
            chunk.choices[0].text
            for chunk in client.completions.create(
                model=MODEL_NAME, prompt="The ocean is", max_tokens=8, stream=True, temperature=0
            )
            if chunk.choices
        ]
        assert "".join(pieces)
        try:
            client.completions.create(model=MODEL_NAME, prompt="x", max_tokens=10**6)
            raise AssertionError("too long a context was accepted")
        except openai.BadRequestError as problem:
            assert problem.code == "context_length_exceeded", problem.code


def files_and_batch(binary):
    with Service(binary) as service:
        client = client_of(service)
        lines = [
            json.dumps(
                {
                    "custom_id": f"q-{i}",
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": chat_item(f"What is number {i}?"),
                }
            )
            for i in range(25)
        ]
        content = "\n".join(lines).encode()
        uploaded = client.files.create(
            file=("questions.jsonl", io.BytesIO(content)), purpose="batch"
        )
        assert uploaded.bytes == len(content) and uploaded.filename == "questions.jsonl"
        assert client.files.content(uploaded.id).read() == content
        assert uploaded.id in [f.id for f in client.files.list(purpose="batch")]
        batch = client.batches.create(
            input_file_id=uploaded.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            metadata={"team": "tests"},
        )
        assert batch.status in ("validating", "in_progress") and batch.metadata == {"team": "tests"}
        deadline = time.monotonic() + 120
        while batch.status not in ("completed", "failed") and time.monotonic() < deadline:
            time.sleep(0.1)
            batch = client.batches.retrieve(batch.id)
        assert batch.status == "completed" and batch.request_counts.completed == 25, batch
        output = [
            json.loads(line)
            for line in client.files.content(batch.output_file_id).text.splitlines()
        ]
        assert [o["custom_id"] for o in output] == [f"q-{i}" for i in range(25)]
        assert batch.id in [b.id for b in client.batches.list(limit=5)]
        assert client.files.delete(uploaded.id).deleted


def batch_cancel(binary):
    with Service(binary, max_sequences=2) as service:
        client = client_of(service)
        lines = [
            json.dumps(
                {
                    "custom_id": f"c-{i}",
                    "method": "POST",
                    "url": "/v1/completions",
                    "body": {
                        "model": MODEL_NAME,
                        "prompt": f"{i}",
                        "max_tokens": 400,
                        "ignore_eos": True,
                    },
                }
            )
            for i in range(400)
        ]
        uploaded = client.files.create(
            file=("long.jsonl", io.BytesIO("\n".join(lines).encode())), purpose="batch"
        )
        batch = client.batches.create(
            input_file_id=uploaded.id, endpoint="/v1/completions", completion_window="24h"
        )
        while batch.status == "validating":
            batch = client.batches.retrieve(batch.id)
        batch = client.batches.cancel(batch.id)
        assert batch.status in ("cancelling", "cancelled"), batch.status
        deadline = time.monotonic() + 60
        while batch.status != "cancelled" and time.monotonic() < deadline:
            time.sleep(0.05)
            batch = client.batches.retrieve(batch.id)
        assert batch.status == "cancelled" and batch.request_counts.completed < 400, batch
        assert service.json(
            "POST", "/v1/completions", {"model": MODEL_NAME, "prompt": "a", "max_tokens": 2}
        )


def responses_over_websocket_on_two_lanes(binary):
    with Service(binary) as service:
        with client_of(service).responses.connect() as connection:
            for lane in ("left", "right"):
                connection.send(
                    {
                        "type": "response.create",
                        "stream_id": lane,
                        "model": MODEL_NAME,
                        "input": f"Tell me about the {'moon' if lane == 'left' else 'ocean'}.",
                        "max_output_tokens": 40,
                        "temperature": 0,
                    }
                )
            texts, ended, order = {"left": "", "right": ""}, set(), {"left": -1, "right": -1}
            while len(ended) < 2:
                event = connection.recv()
                lane = event.stream_id
                assert event.sequence_number == order[lane] + 1, (lane, event)
                order[lane] = event.sequence_number
                if event.type == "response.output_text.delta":
                    texts[lane] += event.delta
                elif event.type in ("response.completed", "response.incomplete"):
                    assert event.response.usage.output_tokens > 0
                    assert event.response.output[0].content[0].text == texts[lane]
                    ended.add(lane)
            assert (
                texts["left"].strip() and texts["right"].strip() and texts["left"] != texts["right"]
            ), texts


def tools_and_reasoning_in_chats(binary):
    with scripted_service(binary) as service:
        client = client_of(service)
        messages = [{"role": "user", "content": "Is it cold?"}]
        thought = client.chat.completions.create(model=MODEL_NAME, messages=messages)
        assert thought.choices[0].message.content == ANSWER
        assert thought.choices[0].message.reasoning_content == THOUGHT
        assert thought.usage.completion_tokens_details.reasoning_tokens == 4

        reply = client.chat.completions.create(model=MODEL_NAME, messages=messages, tools=TOOLS)
        message = reply.choices[0].message
        assert reply.choices[0].finish_reason == "tool_calls"
        assert [(c.function.name, c.function.arguments) for c in message.tool_calls] == CALLS
        messages += [message] + [
            {"role": "tool", "tool_call_id": call.id, "content": "-3"} for call in message.tool_calls
        ]
        after = client.chat.completions.create(model=MODEL_NAME, messages=messages, tools=TOOLS)
        assert after.choices[0].message.content == RESULT

        # The client's own accumulator puts the chunks together.
        with client.chat.completions.stream(
            model=MODEL_NAME, messages=messages[:1], tools=TOOLS
        ) as stream:
            kinds = [event.type for event in stream]
            whole = stream.get_final_completion().choices[0]
        assert "tool_calls.function.arguments.delta" in kinds and "tool_calls.function.arguments.done" in kinds
        assert whole.finish_reason == "tool_calls" and whole.message.content == "I look."
        calls = [(c.function.name, c.function.arguments) for c in whole.message.tool_calls]
        assert calls == CALLS, calls
        try:
            client.chat.completions.create(
                model=MODEL_NAME, messages=messages[:1], tools=TOOLS, tool_choice="required"
            )
            raise AssertionError("tool_choice: required was accepted")
        except openai.BadRequestError as problem:
            assert problem.param == "tool_choice" and problem.code == "unsupported_parameter"


def tools_and_reasoning_in_responses(binary):
    with scripted_service(binary) as service:
        client = client_of(service)
        first = client.responses.create(model=MODEL_NAME, input="Is it cold?", tools=FLAT_TOOLS)
        calls = [item for item in first.output if item.type == "function_call"]
        assert [(c.name, c.arguments) for c in calls] == CALLS and first.output_text == "I look."
        items = [{"role": "user", "content": "Is it cold?"}, *first.output]
        items += [{"type": "function_call_output", "call_id": c.call_id, "output": "-3"} for c in calls]
        after = client.responses.create(model=MODEL_NAME, input=items, tools=FLAT_TOOLS)
        assert after.output_text == RESULT

        with client.responses.stream(model=MODEL_NAME, input="Hi", tools=FLAT_TOOLS) as stream:
            kinds = [event.type for event in stream]
            whole = stream.get_final_response()
        assert "response.function_call_arguments.delta" in kinds, kinds
        assert [(c.name, c.arguments) for c in whole.output[1:]] == CALLS

        with client.responses.stream(model=MODEL_NAME, input="Hi") as stream:
            said = "".join(e.delta for e in stream if e.type == "response.reasoning_text.delta")
            whole = stream.get_final_response()
        assert said == THOUGHT and whole.output[0].content[0].text == THOUGHT
        assert whole.output_text == ANSWER
        assert whole.usage.output_tokens_details.reasoning_tokens == 4


def tools_over_a_websocket(binary):
    with scripted_service(binary) as service:
        with client_of(service).responses.connect() as connection:
            connection.send(
                {"type": "response.create", "model": MODEL_NAME, "input": "Hi", "tools": FLAT_TOOLS}
            )
            arguments, last = {}, None
            while last is None or last.type != "response.completed":
                last = connection.recv()
                if last.type == "response.function_call_arguments.delta":
                    arguments[last.output_index] = arguments.get(last.output_index, "") + last.delta
            assert arguments == {1: CALLS[0][1], 2: CALLS[1][1]}, arguments
            assert [item.type for item in last.response.output] == [
                "message",
                "function_call",
                "function_call",
            ]


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            models,
            chat_streaming_with_usage,
            completions,
            files_and_batch,
            batch_cancel,
            responses_over_websocket_on_two_lanes,
            tools_and_reasoning_in_chats,
            tools_and_reasoning_in_responses,
            tools_over_a_websocket,
        )
    )
