"""Clients that go away in mid-stream: their requests are cancelled and every KV block comes back.

usage: disconnect_test.py TANDEM_BINARY [CLIENTS]      (default 200)
"""

import json
import socket
import sys
import time

from service import MODEL_NAME, Service, main

CLIENTS = int(sys.argv[2]) if len(sys.argv) > 2 else 200


def open_stream(service, index):
    """A chat stream of 400 tokens, read up to its first event, on a raw socket."""
    body = json.dumps(
        {
            "model": MODEL_NAME,
            "stream": True,
            "max_tokens": 400,
            "ignore_eos": True,
            "n": 1 + index % 2,
            "messages": [{"role": "user", "content": f"Tell me a story, number {index}."}],
        }
    ).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    connection = socket.create_connection(("127.0.0.1", service.port), timeout=60)
    connection.sendall(head + body)
    return connection


def read_first_event(connection):
    received = b""
    while b"data: " not in received:
        piece = connection.recv(4096)
        assert piece, received
        received += piece
    assert b" 200 " in received.split(b"\r\n", 1)[0], received


def wait_until(condition, seconds):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        time.sleep(0.02)


def blocks_return_exactly(binary):
    with Service(binary) as service:
        start = service.metric("tandem_kv_blocks_free")
        assert start == service.metric("tandem_kv_blocks") > 0
        lowest = start
        gone = 0
        while gone < CLIENTS:
            group = [open_stream(service, gone + i) for i in range(min(25, CLIENTS - gone))]
            for connection in group:
                read_first_event(connection)
            lowest = min(lowest, service.metric("tandem_kv_blocks_free"))
            for i, connection in enumerate(group):
                if i % 3 == 0:  # a reset instead of a polite end
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                connection.close()
            gone += len(group)
        running = 'tandem_num_requests_running{class="online"}'
        wait_until(lambda: service.metric(running) == 0, 30)
        wait_until(lambda: service.metric("tandem_kv_blocks_free") == start, 5)
        cancelled = service.metric(
            'tandem_request_success_total{class="online",finished_reason="cancelled"}'
        )
        assert lowest < start, "nothing was held while the clients were there"
        assert cancelled >= CLIENTS * 0.9, cancelled
        print(
            f"{gone} clients left; free blocks {start:.0f} -> {lowest:.0f} -> "
            f"{service.metric('tandem_kv_blocks_free'):.0f}; {cancelled:.0f} requests cancelled"
        )
        assert service.json(
            "POST", "/v1/completions", {"model": MODEL_NAME, "prompt": "The sea", "max_tokens": 4}
        )


def a_plain_call_whose_client_leaves_is_cancelled_too(binary):
    with Service(binary) as service:
        start = service.metric("tandem_kv_blocks_free")
        body = json.dumps(
            {"model": MODEL_NAME, "prompt": "Once", "max_tokens": 900, "ignore_eos": True}
        ).encode()
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall(
            (
                f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            ).encode()
            + body
        )
        wait_until(lambda: service.metric('tandem_num_requests_running{class="online"}') == 1, 10)
        connection.close()
        wait_until(lambda: service.metric("tandem_kv_blocks_free") == start, 5)


if __name__ == "__main__":
    sys.exit(
        main(sys.argv, blocks_return_exactly, a_plain_call_whose_client_leaves_is_cancelled_too)
    )
