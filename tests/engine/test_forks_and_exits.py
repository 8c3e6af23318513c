"""Forks in the middle of something, and processes that exit in the middle of an answer: an error or an end, no hang."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORKS = """
import asyncio, os, signal, sys, threading, traceback, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
from PIL import Image
from langchain_vipllava import ChatVipLlava, EncodedImage, GenerationError, ImageStore, load_image
from langchain_vipllava.backends.local import LocalBackend, compile_request
from langchain_vipllava.engine import runner as runners
from langchain_vipllava.images import value
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.chat_request import ChatRequest
from langchain_vipllava.workspace.fair_lock import FairLock

llm = ChatVipLlava(model=sys.argv[1], max_tokens=200, temperature=1.0, seed=1)
runner = llm.backend.runner
expected = llm.invoke("Who are you?", max_tokens=3).text
request = compile_request(ChatRequest(Conversation((Turn("Describe it."),)), max_tokens=200))

def in_child(name, call):
    child = os.fork()
    if not child:
        signal.alarm(60)  # a hang ends the child
        try:
            call()
            code = 0
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code == 0, (name, code)

def refused(call):
    try:
        call()
    except GenerationError as error:
        assert "parent process" in str(error), error
    else:
        raise AssertionError("no error")

# 1. What the parent waits for.
gate = threading.Event()
held = threading.Event()
def hold(module, inputs):
    held.set()
    gate.wait()
stream = llm.stream("Describe it at length.")
next(stream)
hook = runner.model.get_input_embeddings().register_forward_pre_hook(hold)
held.wait()
handle = runner.submit(request)  # waits behind the stream
def answers():
    hook.remove()
    assert llm.invoke("Who are you?", max_tokens=3).text == expected
    assert llm.backend.stats().waiting == 0
async def wait():
    await handle.future
in_child("stream", lambda: refused(lambda: list(stream)))
in_child("handle", lambda: refused(handle.future.result))
in_child("await", lambda: refused(lambda: asyncio.run(wait())))
in_child("stop", runner.stop)
in_child("answer", answers)

# 2. Locks that another thread of the parent holds.
store, fair = ImageStore(), FairLock()
image = EncodedImage.from_pixels(Image.new("RGB", (8, 8)))
options = LocalBackend.load(model=sys.argv[1], cache_bytes=1000).options
def load():
    assert runners.get_runner(options)
entered, leave = threading.Event(), threading.Event()
def holding():
    loading = runners._loading.setdefault(options, runners.fork_safe_lock())
    with image._lock, store._backing._lock, value._read_lock, loading, fair.place():
        with runner._constraints._lock, runner.encoder._digests_lock:
            entered.set()
            leave.wait()
holder = threading.Thread(target=holding, daemon=True)
holder.start()
if not entered.wait(60):
    os._exit(3)
def enter():
    with fair.place():
        pass
def keep():
    name = store.add(image)
    assert store.get(name) == image.data
in_child("image", lambda: image.data)
in_child("store", keep)
in_child("PIL image", lambda: load_image(Image.new("RGB", (8, 8))))
in_child("FairLock", enter)
in_child("loading", load)
in_child("tokenizer", answers)
in_child("schema", lambda: (hook.remove(), llm.with_structured_output({
    "title": "t", "type": "object", "properties": {"a": {"type": "boolean"}}, "required": ["a"]}).invoke("Yes?")))
leave.set()
holder.join()

# 3. The parent goes on.
gate.set()
hook.remove()
assert handle.future.result(60).token_ids
assert list(stream)
print("all as expected")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork does not exist")
def test_a_forked_child_hangs_on_nothing_of_its_parent(tiny_checkpoint):
    done = run(FORKS, tiny_checkpoint)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "all as expected" in done.stdout


BEGINNING = """
import asyncio, atexit, sys, threading, time
def last():  # registered before the package is imported, so called after its own handler
    try:
        print("answered", llm.invoke("Who are you?", max_tokens=1).text)
    except GenerationError as error:
        print("last:", error)
atexit.register(last)
import torch
torch.set_num_threads(1)
from langchain_vipllava import ChatVipLlava, GenerationError
llm = ChatVipLlava(model=sys.argv[1], max_tokens=400, temperature=3.0, seed=1)
llm.invoke("Hello.", max_tokens=1)
"""

EXITS = {
    "an open stream": "stream = llm.stream('Describe it.')\nnext(stream)\nsys.exit(7)",
    "daemon threads that ask": """
def ask():
    while True:
        try:
            llm.invoke("Describe it.")
        except GenerationError:
            return
for _ in range(3):
    threading.Thread(target=ask, daemon=True).start()
next(llm.stream("Describe it."))
sys.exit(7)
""",
    "users at exit": """
def early():
    print("early:", llm.invoke("Who are you?", max_tokens=1).response_metadata["finish_reason"])
    stream = llm.stream("Describe it.")
    next(stream)
    globals()["kept"] = stream
atexit.register(early)
sys.exit(7)
""",
    "an unhandled error in a task": """
async def main():
    async for chunk in llm.astream("Describe it."):
        raise SystemExit(7)
asyncio.run(main())
""",
    "a thread that goes on": """
def ask():
    begun.set()
    print("thread:", llm.invoke("Who are you?", max_tokens=20, temperature=0.0).response_metadata["finish_reason"])
begun = threading.Event()
threading.Thread(target=ask).start()
begun.wait()
sys.exit(7)
""",
    "an interrupt": """
import signal
try:
    for chunk in llm.stream("Describe it."):
        signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    sys.exit(7)
""",
}


@pytest.mark.parametrize("ending", EXITS)
def test_a_process_ends_in_the_middle_of_an_answer(tiny_checkpoint, ending):
    done = run(BEGINNING + EXITS[ending], tiny_checkpoint)
    assert done.returncode == 7, (done.stdout, done.stderr[-3000:])
    assert "last: the model's thread cannot start: the process is exiting." in done.stdout
    assert "Traceback" not in done.stderr or ending == "an unhandled error in a task"
    expected = {"users at exit": "early: length", "a thread that goes on": "thread: "}
    assert expected.get(ending, "") in done.stdout


def run(script, folder):
    command = [sys.executable, "-c", script, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
