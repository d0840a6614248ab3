#!/usr/bin/env bash
# openai 3.57.0: a streamed response that ends at the limit of tokens has no final response.
#
# Guess: `client.responses.stream(max_output_tokens=...)` ends with `response.incomplete` when the limit is reached, which is one
# of the API's three ends of a stream, and `get_final_response()` returns the response with status "incomplete" and the text so
# far, as `client.responses.create(stream=True)` yields it.
# Seen (2026-12): the events come through, the last one with the text, and then `get_final_response()` raises a RuntimeError,
# since only `response.completed` counts as an end (openai/lib/streaming/responses).
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
venv=${FINDINGS_VENV:-$folder/venv}
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip --disable-pip-version-check install --quiet openai==3.57.0
cat >see.py <<'PY'
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

from openai import OpenAI

PART = {"type": "output_text", "text": "One two", "annotations": []}
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "status": "incomplete", "content": [PART]}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "m", "parallel_tool_calls": True, "tool_choice": "auto",
    "tools": [], "error": None, "instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0,
}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
EVENTS = [
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "incomplete_details": None, "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**MESSAGE, "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", **PLACE, "part": {**PART, "text": ""}},
    {"type": "response.output_text.delta", **PLACE, "delta": "One two", "logprobs": []},
    {"type": "response.output_text.done", **PLACE, "text": "One two", "logprobs": []},
    {"type": "response.content_part.done", **PLACE, "part": PART},
    {"type": "response.output_item.done", "output_index": 0, "item": MESSAGE},
    {"type": "response.incomplete", "response": {
        **RESPONSE, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [MESSAGE],
    }},
]


class Server(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        for number, event in enumerate(EVENTS):
            data = json.dumps({**event, "sequence_number": number})
            self.wfile.write(f"event: {event['type']}\ndata: {data}\n\n".encode())

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="none", max_retries=0)
asked = dict(model="m", input="Count.", max_output_tokens=2)

plain = list(client.responses.create(**asked, stream=True))
print("create(stream=True) ends with", plain[-1].type, repr(plain[-1].response.output_text))
assert plain[-1].type == "response.incomplete" and plain[-1].response.output_text == "One two", "not as described"
with client.responses.stream(**asked) as stream:
    last = [event.type for event in stream][-1]
    print("stream() ends with", last)
    assert last == "response.incomplete", "not as described"
    try:
        found = stream.get_final_response()
        raise SystemExit(f"not as described: {found.status}")
    except RuntimeError as error:
        print("get_final_response():", error)
PY
"$venv/bin/python" see.py
echo "as described: an incomplete response has no final response"
