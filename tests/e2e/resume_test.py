"""A WebSocket that breaks in mid-stream: response.resume gives the rest, byte for byte.

usage: resume_test.py TANDEM_BINARY
"""

import base64
import json
import os
import socket
import struct
import sys

from service import MODEL_NAME, Service, main

TERMINAL = ("response.completed", "response.incomplete", "response.failed")


class WebSocket:
    """As much of RFC 6455 as the test needs: masked text out, whole text messages in."""

    def __init__(self, service):
        self.socket = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        self.received = b""
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            (
                f"GET /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:{service.port}\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
            ).encode()
        )
        while b"\r\n\r\n" not in self.received:
            self.fill()
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        assert b" 101 " in head.split(b"\r\n", 1)[0], head

    def fill(self):
        piece = self.socket.recv(65536)
        assert piece, "the service closed the connection"
        self.received += piece

    def take(self, count):
        while len(self.received) < count:
            self.fill()
        taken, self.received = self.received[:count], self.received[count:]
        return taken

    def frame(self, opcode, payload):
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        assert len(payload) < 65536
        size = (
            bytes([0x80 | len(payload)])
            if len(payload) < 126
            else bytes([0x80 | 126]) + struct.pack(">H", len(payload))
        )
        self.socket.sendall(bytes([0x80 | opcode]) + size + mask + masked)

    def send(self, event):
        self.frame(1, json.dumps(event).encode())

    def read(self):
        """The bytes of the next text message."""
        while True:
            first, size = self.take(2)
            if size == 126:
                (size,) = struct.unpack(">H", self.take(2))
            elif size == 127:
                (size,) = struct.unpack(">Q", self.take(8))
            payload = self.take(size)
            if first == 0x89:
                self.frame(10, payload)
                continue
            assert first == 0x81, (first, payload)
            return payload

    def read_to_end(self):
        events = []
        while not events or json.loads(events[-1])["type"] not in TERMINAL:
            events.append(self.read())
            assert json.loads(events[-1])["type"] != "error", events[-1]
        return events

    def drop(self):
        """Gone without a word: unread bytes make it a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def resume(service, response_id, after):
    connection = WebSocket(service)
    connection.send(
        {"type": "response.resume", "response_id": response_id, "starting_after": after}
    )
    return connection


def a_dropped_response_goes_on_byte_for_byte(binary):
    with Service(binary) as service:
        first = WebSocket(service)
        first.send(
            {
                "type": "response.create",
                "stream_id": "left",
                "resumable": True,
                "model": MODEL_NAME,
                "input": "Tell me about the ocean.",
                "temperature": 0,
                "max_output_tokens": 400,
                "ignore_eos": True,
            }
        )
        seen = [first.read() for _ in range(10)]
        response_id = json.loads(seen[0])["response"]["id"]
        assert json.loads(seen[-1])["type"] == "response.output_text.delta", seen[-1]
        first.drop()

        rest = resume(service, response_id, 4).read_to_end()
        assert rest[:5] == seen[5:], "the replay differs from what was sent before"
        numbers = [json.loads(event)["sequence_number"] for event in rest]
        assert numbers == list(range(5, 5 + len(rest))), numbers
        assert all(json.loads(event)["stream_id"] == "left" for event in rest)
        end = json.loads(rest[-1])
        assert end["response"]["usage"]["output_tokens"] == 400, end["response"]["usage"]

        whole = resume(service, response_id, -1).read_to_end()
        assert whole == seen[:5] + rest, "a second replay differs"
        text = "".join(
            event["delta"]
            for event in map(json.loads, whole)
            if event["type"] == "response.output_text.delta"
        )
        assert text == end["response"]["output"][0]["content"][0]["text"]


def a_response_that_nobody_knows_is_named(binary):
    with Service(binary) as service:
        event = json.loads(resume(service, "resp_unknown", 0).read())
        assert event["type"] == "error", event
        assert event["error"]["code"] == "response_not_found", event


if __name__ == "__main__":
    sys.exit(
        main(
            sys.argv,
            a_dropped_response_goes_on_byte_for_byte,
            a_response_that_nobody_knows_is_named,
        )
    )
