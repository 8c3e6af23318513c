"""`ModelServer`: a real HTTP server on loopback that speaks vLLM's API, answered by the engine of this process.

It stands in for vLLM, which is too large for every run; `make test-vllm` tries the client against the real one. Routes,
fields and errors are those of vLLM 0.32 (`vllm/entrypoints/scale_out/token_in_token_out`). Its chat template is
`PromptFormat` itself. `faults` has what goes wrong, in the order of the requests for answers.
"""

from __future__ import annotations

import base64
import json
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import torch
from llguidance import LLMatcher

from langchain_vipllava.engine.detokenizer import IncrementalDetokenizer
from langchain_vipllava.engine.encoding import EncodedPrompt, PromptImage
from langchain_vipllava.engine.generation_config import eos_token_ids
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.handle import RequestHandle
from langchain_vipllava.engine.logprobs import LogprobRecorder
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.engine.sampler import TokenSampler
from langchain_vipllava.engine.sequence import Sequence
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS, IMAGE_TOKEN
from langchain_vipllava.protocol.sampling import Sampling

GENERATE, CHAT = "/inference/v1/generate", "/v1/chat/completions"


@dataclass
class Seen:
    """A request that came in."""

    path: str
    body: dict[str, Any]
    headers: dict[str, str]


Fault = Callable[["_Handler", dict[str, Any]], None]
"""Does something wrong with a request, whose body it gets, instead of answering it."""


class _HungUp(Exception):
    """The client closed the connection, or a fault did."""


def fails(status: int, message: str = "something failed", **headers: str) -> Fault:
    """Answers with an error."""
    return lambda handler, body: handler.reply_error(status, message, **headers)


def breaks_off(after: int) -> Fault:
    """Breaks the connection off after some tokens, as a server that is killed."""

    def answer(handler: _Handler, body: dict[str, Any]) -> None:
        def check(sent: int) -> None:
            if sent == after:
                handler.hang_up()
                raise _HungUp

        handler.answer(body, check)

    return answer


def stalls(after: int) -> Fault:
    """Sends some tokens, then nothing until the client hangs up."""

    def answer(handler: _Handler, body: dict[str, Any]) -> None:
        def check(sent: int) -> None:
            if sent == after:
                handler.is_hung_up(wait=60)

        handler.answer(body, check)

    return answer


def sends(*texts: str) -> Fault:
    """Answers with a stream of texts, whatever they are, and ends it."""

    def answer(handler: _Handler, body: dict[str, Any]) -> None:
        handler.begin_stream()
        for text in texts:
            handler.send(text)
        handler.close_connection = True
        if texts[-1]:
            handler.send("")

    return answer


class ModelServer:
    """Serves a loaded model on loopback, in threads of its own, until `close`.

    Args:
        runner: the model.
        name: under which it serves.
        aliases: further names.
        api_key: which it demands under `/v1` and `/inference`.
        scale_out: whether it offers `/inference/v1/generate`, as vLLM with `--enable-scale-out`.
        tokenizes: whether it offers `/tokenize`.

    Attributes:
        seen: the requests for answers.
        asked: the paths of all requests.
        faults: what goes wrong with the next requests for answers; None for nothing.
        cancelled: set for each request whose client hung up before its end.
    """

    def __init__(
        self,
        runner: ModelRunner,
        name: str = "bundled",
        *,
        aliases: tuple[str, ...] = (),
        api_key: str | None = None,
        scale_out: bool = True,
        tokenizes: bool = True,
        port: int = 0,
    ) -> None:
        self.runner, self.name, self.api_key = runner, name, api_key
        self.aliases, self.scale_out, self.tokenizes = aliases, scale_out, tokenizes
        self.max_model_len = runner.encoder.context_length
        self.seen: list[Seen] = []
        self.asked: list[str] = []
        self.faults: deque[Fault | None] = deque()
        self.cancelled: queue.SimpleQueue[str] = queue.SimpleQueue()
        handler = type("Handler", (_Handler,), {"model_server": self})
        self._http = _Server(("127.0.0.1", port), handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return self._http.server_address[1]

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def die(self) -> None:
        """Stop listening, and break off every connection, as a killed process does."""
        self._http.shutdown()
        self._http.server_close()
        self._http.break_connections()

    close = die

    def __enter__(self) -> ModelServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *args: Any) -> None:
        self.connections: set[Any] = set()
        super().__init__(*args)

    def get_request(self) -> Any:
        connection, address = super().get_request()
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        self.connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        import socket
        from contextlib import suppress

        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients hang up in these tests."""


@dataclass
class _Tokens(IncrementalDetokenizer):
    """Passes each token on, as vLLM streams them, and whether the answer ends with it."""

    tokens: queue.SimpleQueue[Any] = field(default_factory=queue.SimpleQueue)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.tokens = queue.SimpleQueue()
        super().__init__(*args, **kwargs)

    def add(self, token: int, *, last: bool = False) -> None:
        if self.finish_reason is None:
            super().add(token, last=last)
            self.tokens.put((token, self.finish_reason is not None))


class _Handler(BaseHTTPRequestHandler):
    model_server: ModelServer
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.model_server.asked.append(self.path)
        if self.path == "/health":
            self.reply(200, {})
        elif self.path == "/version":
            self.reply(200, {"version": "0.32.0"})
        elif not self._is_allowed():
            self.reply_error(401, "Unauthorized")
        elif self.path == "/v1/models":
            server = self.model_server
            entries = [
                {"id": name, "object": "model", "root": name, "max_model_len": server.max_model_len}
                for name in (server.name, *server.aliases)
            ]
            self.reply(200, {"object": "list", "data": entries})
        else:
            self.reply(404, {"detail": "Not Found"})

    def do_POST(self) -> None:
        server = self.model_server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server.asked.append(self.path)
        if self.path not in (GENERATE, CHAT, "/tokenize") or (self.path == "/tokenize" and not server.tokenizes):
            self.reply(404, {"detail": "Not Found"})
            return
        if self.path != "/tokenize" and not self._is_allowed():
            self.reply_error(401, "Unauthorized")
            return
        if body.get("model") not in (None, server.name, *server.aliases):
            self.reply_error(404, f"The model `{body['model']}` does not exist.")
            return
        if self.path == "/tokenize":
            ids = self._chat_ids(body)[0] if "messages" in body else self._tokenize(body)
            self.reply(200, {"count": len(ids), "max_model_len": server.max_model_len, "tokens": ids})
            return
        if self.path == GENERATE and not server.scale_out:
            self.reply_error(403, "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out.")
            return
        server.seen.append(Seen(self.path, body, dict(self.headers)))
        fault = server.faults.popleft() if server.faults else None
        try:
            (fault or _Handler.answer)(self, body)
        except _HungUp:
            self.close_connection = True

    def _is_allowed(self) -> bool:
        key = self.model_server.api_key
        return key is None or self.headers.get("Authorization") == f"Bearer {key}"

    def reply(self, status: int, value: Any, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def reply_error(self, status: int, message: str, **headers: str) -> None:
        self.reply(status, {"error": {"message": message, "type": "Error", "code": status}}, **headers)

    def begin_stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def send(self, text: str) -> None:
        """Send a piece of a stream.

        Raises:
            _HungUp: nobody listens.
        """
        data = text.encode()
        try:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
        except OSError as error:
            raise _HungUp from error

    def send_event(self, event: dict[str, Any]) -> None:
        self.send(f"data: {json.dumps(event)}\n\n")

    def end_stream(self) -> None:
        self.send("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def hang_up(self) -> None:
        """Break the connection off."""
        import socket

        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def is_hung_up(self, wait: float = 0) -> bool:
        """Whether the client closed the connection, at once or within some seconds."""
        import select
        import socket

        readable, _, _ = select.select([self.connection], [], [], wait)
        try:
            return bool(readable) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True

    def answer(self, body: dict[str, Any], after: Callable[[int], None] = lambda tokens: None) -> None:
        """Answer a request; `after` is called with the number of tokens that were sent, before each further one."""
        by_ids = self.path == GENERATE
        if by_ids:
            ids, images = body["token_ids"], [_image(part["url"]) for part in body.get("content_parts", ())]
            sampling = body["sampling_params"]
        else:
            ids, images = self._chat_ids(body)
            sampling = body
        if sampling.get("prompt_logprobs") is not None:
            self.reply(
                200, {"choices": [], "prompt_logprobs": _scores(self.model_server.runner, ids, images, sampling)}
            )
            return
        try:
            prompt = _prompt(self.model_server.runner, ids, images)
        except ValueError as error:
            self.reply_error(400, str(error))
            return
        sequence, grammar_error = _sequence(self.model_server.runner, prompt, sampling, body)
        if sequence is None:
            self.reply_error(400, f"Grammar error: {grammar_error}")
            return
        self.model_server.runner._worker.submit(sequence)
        self.begin_stream()
        try:
            for number, event in enumerate(_events(self, sequence, body)):
                after(number)
                if self.is_hung_up():
                    raise _HungUp
                self.send_event(event)
            self.end_stream()
        except _HungUp:
            sequence.handle.cancel()
            self.model_server.cancelled.put(self.path)
            raise

    def _tokenize(self, body: dict[str, Any]) -> list[int]:
        tokenizer = self.model_server.runner.encoder.tokenizer
        return list(tokenizer(body["prompt"], add_special_tokens=body.get("add_special_tokens", True))["input_ids"])

    def _chat_ids(self, body: dict[str, Any]) -> tuple[list[int], list[EncodedImage]]:
        """The prompt as a template writes it: one text, in which special tokens are what they are called."""
        kwargs = body["chat_template_kwargs"]
        turns: list[Turn] = []
        system, images = None, []
        for message in body["messages"]:
            content = message["content"]
            if message["role"] == "system":
                system = content
            elif message["role"] == "assistant":
                turns[-1] = Turn(turns[-1].question, turns[-1].images, content)
            else:
                pictures = [_image(part["image_url"]["url"]) for part in content if part["type"] == "image_url"]
                text = "".join(part["text"] for part in content if part["type"] == "text")
                turns.append(Turn(text, tuple(pictures)))
                images += pictures
        prompt = FORMATS[kwargs["prompt_format"]].render(Conversation(tuple(turns), system), allow_partial=True)
        tokenizer = self.model_server.runner.encoder.tokenizer
        ids = tokenizer("<s>" + prompt.text, add_special_tokens=False)["input_ids"]
        image_id = tokenizer.convert_tokens_to_ids(IMAGE_TOKEN)
        if self.path == "/tokenize":
            size = self.model_server.runner.encoder.image_tokens
            return [each for token in ids for each in [token] * (size if token == image_id else 1)], images
        return list(ids), images


def _image(uri: str) -> EncodedImage:
    assert uri.startswith("data:image/png;base64,"), uri[:40]
    return EncodedImage(base64.b64decode(uri.split(",", 1)[1]))


def _prompt(runner: ModelRunner, ids: list[int], images: list[EncodedImage]) -> EncodedPrompt:
    """Expand each image token, as vLLM's processor does."""
    encoder = runner.encoder
    places = [index for index, token in enumerate(ids) if token == encoder.texts.image_id]
    if len(places) != len(images):
        raise ValueError(f"{len(places)} image tokens for {len(images)} images")
    expanded = encoder.texts.expand(ids)
    if len(expanded) >= encoder.context_length:
        raise ValueError(f"This model's maximum context length is {encoder.context_length} tokens.")
    found = []
    for number, (place, image) in enumerate(zip(places, images, strict=True)):
        key, pixels = encoder._encode_image(image, "pad")
        start = place + number * (encoder.image_tokens - 1)
        found.append(PromptImage(key, start, encoder.image_tokens, pixels))
    return EncodedPrompt(expanded, tuple(found))


def _sequence(
    runner: ModelRunner, prompt: EncodedPrompt, sampling: dict[str, Any], body: dict[str, Any]
) -> tuple[Sequence | None, str]:
    """Make the engine's sequence of a request; without a valid grammar, None and what is wrong with it."""
    encoder = runner.encoder
    max_tokens = min(sampling["max_tokens"], encoder.context_length - len(prompt.ids))
    constraint = None
    if "structured_outputs" in sampling:
        grammar = LLMatcher.grammar_from_lark(sampling["structured_outputs"]["grammar"])
        if problem := LLMatcher.validate_grammar(grammar):
            return None, problem
        constraint = runner._constraints.start(Grammar(grammar), max_tokens)
        constraint._close_from = -1  # vLLM closes nothing
    if "allowed_token_ids" in sampling:
        constraint = _Allowed(sampling["allowed_token_ids"])
    top = sampling.get("logprobs")
    if body.get("messages"):
        top = body.get("top_logprobs", 0) if body.get("logprobs") else None
    recorder = None
    if top is not None:
        runner._token_texts.prepare()
        recorder = _Recorder(runner._token_texts, top)
    settings = Sampling(
        sampling["temperature"], sampling.get("top_p", 1.0), sampling.get("top_k"), sampling.get("seed")
    )
    detokenizer = _Tokens(
        encoder.tokenizer,
        end_ids=eos_token_ids(runner.model),
        max_tokens=max_tokens,
        stop=tuple(sampling.get("stop", ())),
    )
    handle = RequestHandle()
    handle.future.add_done_callback(lambda _: detokenizer.tokens.put(None))
    return Sequence(handle, prompt, detokenizer, TokenSampler(settings, constraint, recorder), recorder), ""


def _scores(
    runner: ModelRunner, ids: list[int], images: list[EncodedImage], sampling: dict[str, Any]
) -> list[dict[str, Any] | None]:
    """The model's log-probabilities of the tokens of a prompt, by transformers alone."""
    prompt = _prompt(runner, ids, images)
    inputs = {"input_ids": torch.tensor([prompt.ids])}
    if images:
        inputs["pixel_values"] = torch.stack([image.pixels for image in prompt.images])
    with torch.inference_mode():
        logprobs = runner.model(**inputs).logits[0].float().log_softmax(dim=-1)
    listed: list[dict[str, Any] | None] = [None]
    for place, token in zip(logprobs[:-1], prompt.ids[1:], strict=True):
        values, top = place.topk(sampling["prompt_logprobs"])
        entries = {token: float(place[token]), **dict(zip(top.tolist(), values.tolist(), strict=True))}
        listed.append({str(each): {"logprob": value} for each, value in entries.items()})
    return listed


class _Recorder(LogprobRecorder):
    """Records ids too, of which vLLM speaks: two tokens may have one text."""

    def __init__(self, texts: Any, top: int) -> None:
        super().__init__(texts, top)
        self.ids: list[list[tuple[int, float]]] = []

    def add(self, token: int, logits: Any, admitted: Any) -> None:
        super().add(token, logits, admitted)
        if admitted is not None:  # vLLM masks the logits by the form of the answer first
            logits = logits.masked_fill(torch.from_numpy(~admitted), float("-inf"))
        logprobs = logits.log_softmax(dim=-1).clamp(min=-9999.0)
        values, ids = logprobs.topk(self._top)
        top = [pair for pair in zip(ids.tolist(), values.tolist(), strict=True) if pair[0] != token]
        self.ids.append([(token, float(logprobs[token])), *top])


class _Allowed:
    """Chooses among some tokens, as vLLM with `allowed_token_ids`."""

    is_complete, admitted = False, None

    def __init__(self, ids: list[int]) -> None:
        self._ids = ids

    def mask(self, logits: Any) -> Any:
        masked = logits.new_full(logits.shape, float("-inf"))
        masked[self._ids] = logits[self._ids]
        return masked

    def accept(self, token: int) -> None:
        assert token in self._ids


def _events(handler: _Handler, sequence: Sequence, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The events of a stream: one for each token, the last token with the reason of the end; then usage."""
    detokenizer: Any = sequence.detokenizer
    by_ids = handler.path == GENERATE
    runner = handler.model_server.runner
    sent = emitted = 0
    last: list[int] = []
    while (passed := detokenizer.tokens.get()) is not None:
        token, is_last = passed  # said when it came: the engine may be ahead by now
        if is_last:
            last = [token]
        else:
            yield _chunk(runner, sequence, body, [token], sent, None, by_ids, emitted)
            sent, emitted = sent + 1, detokenizer._emitted
    error = sequence.handle.future.exception(0)
    if error is not None:
        yield {"error": {"message": str(error), "type": "InternalServerError", "code": 500}}
        return
    reason = detokenizer.finish_reason
    if not last and reason == "stop":  # vLLM ends constrained answers by the end token
        last = [eos_token_ids(runner.model)[0]]
    yield _chunk(runner, sequence, body, last, sent, reason, by_ids, emitted)
    usage = {
        "prompt_tokens": len(sequence.prompt.ids),
        "completion_tokens": len(detokenizer.ids) + 1,
        "total_tokens": len(sequence.prompt.ids) + len(detokenizer.ids) + 1,
        "prompt_tokens_details": {"cached_tokens": sequence.reused_tokens or 0},
    }
    yield {"choices": [], "usage": usage}


def _chunk(
    runner: ModelRunner,
    sequence: Sequence,
    body: dict[str, Any],
    ids: list[int],
    sent: int,
    reason: str | None,
    by_ids: bool,
    emitted: int,
) -> dict[str, Any]:
    detokenizer: Any = sequence.detokenizer
    stopped = next(iter(stop for stop in detokenizer._stop if detokenizer._is_cut), None) if reason else None
    choice: dict[str, Any] = {"index": 0, "token_ids": ids, "finish_reason": reason, "stop_reason": stopped}
    choice["logprobs"] = None
    if sequence.recorder is not None:
        places = sequence.recorder.ids[sent : sent + len(ids)]
        content = [_place(place, sequence.recorder._top, runner, by_ids, body) for place in places]
        choice["logprobs"] = {"content": content}
    event: dict[str, Any] = {"choices": [choice]}
    if not by_ids:
        text = detokenizer._text[emitted : detokenizer._emitted if reason is None else None]
        choice["delta"] = {"content": text}
        if not sent:
            event["prompt_token_ids"] = list(sequence.prompt.ids)
    return event


def _place(
    place: list[tuple[int, float]], top: int, runner: ModelRunner, by_ids: bool, body: dict[str, Any]
) -> dict[str, Any]:
    """A log-probability as vLLM writes it: the token itself first, then the likeliest while they fit."""

    def entry(token: int, logprob: float) -> dict[str, Any]:
        if by_ids:
            return {"token_id": token, "logprob": logprob, "rank": 1}
        if body.get("return_tokens_as_token_ids"):
            return {"token": f"token_id:{token}", "logprob": logprob}
        text, data = runner._token_texts.of(token)
        return {"token": text, "logprob": logprob, "bytes": list(data or b"")}

    return {**entry(*place[0]), "top_logprobs": [entry(*each) for each in place[: max(top, 1)]]}
