"""A server that renders and tokenizes prompts as vLLM does, from an exported folder; it has no model."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image


class PromptServer:
    """What the server knows, and which faults it has.

    Args:
        processor: the `LlavaProcessor` of the exported folder.
        template: another chat template.
        faults: any of "no tokens route", "other grammar", "fetches", "closed", "hostile".
    """

    def __init__(self, processor: Any, template: str | None = None, faults: tuple[str, ...] = ()) -> None:
        self.processor, self.template, self.faults = processor, template, faults
        self.keys: list[str | None] = []

    def get(self, path: str) -> tuple[int, Any]:
        if path == "/version":
            return 200, {"version": "0.32.0\x1b[31m" if "hostile" in self.faults else "0.32.0"}
        if path == "/v1/models" and "closed" in self.faults and self.keys[-1] != "Bearer s3cret":
            return 401, {"error": "Unauthorized"}
        if path == "/v1/models":
            return 200, {"data": [{"id": "shapes", "max_model_len": 809}]}
        return 404, {}

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, Any]:
        if path == "/tokenize":
            return self.tokenize(body)
        if path == "/inference/v1/generate":
            fails = "no tokens route" in self.faults
            return (403, {"error": {"message": "start with --enable-scale-out"}}) if fails else (200, {"choices": []})
        if path == "/v1/chat/completions":
            if "other grammar" in self.faults:
                return 400, {"error": {"message": "Invalid grammar"}}
            return 200, {"choices": [{"message": {"content": "ready"}}]}
        return 404, {}

    def tokenize(self, body: dict[str, Any]) -> tuple[int, Any]:
        tokenizer = self.processor.tokenizer
        if "prompt" in body:
            ids = tokenizer(body["prompt"], add_special_tokens=body["add_special_tokens"])["input_ids"]
            return 200, {"tokens": ids}
        messages, images = [], []
        for message in body["messages"]:
            parts = message["content"]
            if isinstance(parts, list):
                for part in parts:
                    if part["type"] == "image_url":
                        scheme, _, data = part["image_url"]["url"].partition(";base64,")
                        if scheme.startswith("http") and "fetches" in self.faults:
                            return 500, {"error": {"message": "cannot connect"}}
                        if scheme.startswith("http"):
                            return 400, {"error": {"message": "The URL must be from one of the allowed domains"}}
                        images.append(Image.open(io.BytesIO(base64.b64decode(data))))
                parts = [{"type": "image"} if part["type"] == "image_url" else part for part in parts]
            messages.append({**message, "content": parts})
        try:
            text = self.processor.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, chat_template=self.template,
                **body.get("chat_template_kwargs", {}),
            )  # fmt: skip
        except Exception as error:
            return 400, {"error": {"message": str(error)}}
        if not images:
            return 200, {"tokens": tokenizer(text, add_special_tokens=False)["input_ids"]}
        ids = self.processor(images=images, text=text, add_special_tokens=False)["input_ids"][0]
        return 200, {"tokens": [int(token) for token in ids]}


@contextmanager
def running(server: PromptServer) -> Iterator[str]:
    """Run the server on loopback, and return its address."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self, status: int, value: Any) -> None:
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            server.keys.append(self.headers.get("Authorization"))
            self._reply(*server.get(self.path))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self._reply(*server.post(self.path, body))

        def log_message(self, *arguments: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}/v1"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
