"""Signal handlers that raise, or that ask the model themselves."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from langchain_vipllava import ChatVipLlava, GenerationError, VipLlavaError, Workspace
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.engine import runner as runner_module
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.chat_request import ChatRequest
from tests.support.versions import needs_lazy_core

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such timers")

INTERRUPTED = """
import random, signal, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
import torch
from PIL import Image
from langchain_core.messages import HumanMessage
from langchain_vipllava import ChatVipLlava, GenerationError
from langchain_vipllava.engine.engine import Engine

torch.set_num_threads(1)
COUNT = int(sys.argv[2])
step, running, most = Engine.step, [], 0
def counted(engine):
    global most
    running.append(None)
    most = max(most, len(running))
    try:
        step(engine)
    finally:
        running.pop()
Engine.step = counted

def message(text, color):
    block = {"type": "image", "image": Image.new("RGB", (64, 64), color)}
    return [HumanMessage([block, {"type": "text", "text": text}])]
questions = [message("What is it?", "red"), message("What color is it?", "red"), message("What is it?", "blue"),
             "Who are you?", "Who are they?"]
def ask(question):
    return llm.invoke(question).text
def fresh(question):  # its solo answer, by an engine that has answered nothing else
    return ChatVipLlava.from_model(runner.model, runner.processor, max_tokens=6).invoke(question).text
llm = ChatVipLlava(model=sys.argv[1], max_tokens=6)
runner = llm.backend.runner
solo = [fresh(question) for question in questions]

class Raised(BaseException):
    pass
armed = False
def handler(number, frame):
    if armed:
        raise (KeyboardInterrupt if number == signal.SIGINT else Raised)
def alarm(number, frame):
    signal.raise_signal(signal.SIGINT)  # as Ctrl-C
signal.signal(signal.SIGINT, handler)
signal.signal(signal.SIGALRM, handler)
signal.signal(signal.SIGVTALRM, alarm)

usual = 1.0  # seconds of an answer
rng = random.Random(int(sys.argv[3]))
landed = 0
def attempt(question, stream):
    global armed
    armed = True
    signal.setitimer(rng.choice([signal.ITIMER_REAL, signal.ITIMER_VIRTUAL]), rng.uniform(1e-6, usual))
    if stream:
        for _ in llm.stream(question):
            pass
    else:
        llm.invoke(question)
    armed = False
tries = 0
while landed < COUNT and tries < COUNT * 20:
    tries += 1
    try:
        try:
            attempt(rng.choice(questions), rng.random() < 0.3)
        finally:
            armed = False
    except (Raised, KeyboardInterrupt):
        landed += 1
    except GenerationError as error:  # a signal in an isinstance of pydantic-core, which takes any exception for "no"
        assert "[type=model_type" in str(error), error
        landed += 1
    armed = False
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    picked = rng.randrange(len(questions))
    began = time.perf_counter()
    assert ask(questions[picked]) == solo[picked], (landed, "alone")
    usual = (usual + time.perf_counter() - began) / 2
    if tries % 10 == 0:
        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(ask, questions)) == solo, (landed, "in company")
assert landed == COUNT, landed
assert most == 1, most
print(landed, "signals")
"""


IMPORTING = """
import signal, sys, threading
from langchain_vipllava import ChatVipLlava
class Raised(BaseException):
    pass
def handler(number, frame):
    if sys.argv[2] == "raises":
        raise Raised
    answers.append(llm.invoke("Who are you?").text)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "torch.nn":  # in the middle of importing torch
            sys.meta_path.remove(self)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)
answers = []
signal.signal(signal.SIGUSR1, handler)
sys.meta_path.insert(0, Finder())
llm = ChatVipLlava(model=sys.argv[1], max_tokens=3)
for _ in range(2):
    try:
        answers.append(llm.invoke("Who are you?").text)
    except Raised:
        print("interrupted")
assert len(set(answers)) == 1, answers
print(len(answers), "answers")
"""


@needs_lazy_core  # or torch is imported with the package
@pytest.mark.parametrize(("handler", "printed"), [("raises", "interrupted\n1 answers"), ("asks", "3 answers")])
def test_a_signal_in_the_middle_of_importing_torch_harms_nothing(tiny_checkpoint, handler, printed):
    command = [sys.executable, "-c", IMPORTING, str(tiny_checkpoint), handler]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, printed), done.stderr[-3000:]


def interrupt(folder, count, seed=0):
    command = [sys.executable, "-c", INTERRUPTED, str(folder), str(count), str(seed)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"{count} signals" in done.stdout


def test_after_signals_that_raise_every_answer_is_right(tiny_checkpoint):
    interrupt(tiny_checkpoint, 25)


@pytest.mark.slow
def test_after_500_signals_that_raise_every_answer_is_right(tiny_checkpoint):
    interrupt(tiny_checkpoint, 500)


@pytest.fixture
def asking_handler(llm):
    """A signal handler that asks the model; what came of it."""
    outcomes = []

    def handler(number, frame):
        try:
            outcomes.append(llm.invoke("Who are you?").text)
        except VipLlavaError as error:
            outcomes.append(error)

    before = signal.signal(signal.SIGUSR1, handler)
    yield outcomes
    signal.signal(signal.SIGUSR1, before)


def signal_at_next_step(llm):
    """Send the main thread a signal while it waits for the model."""

    def send(module, inputs):
        hook.remove()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)

    hook = llm.backend.runner.model.get_input_embeddings().register_forward_pre_hook(send)


def test_a_signal_handler_asks_while_the_main_thread_waits_for_an_answer(llm, asking_handler):
    expected = [llm.invoke(text).text for text in ("Who are you?", "Hello.")]
    signal_at_next_step(llm)
    assert llm.invoke("Hello.").text == expected[1]
    assert asking_handler == [expected[0]]


def test_a_signal_handler_asks_while_the_main_thread_reads_a_stream(llm, asking_handler):
    expected = [llm.invoke(text).text for text in ("Who are you?", "Hello.")]
    text = ""
    for chunk in llm.stream("Hello."):
        if not text:
            signal.raise_signal(signal.SIGUSR1)
        text += chunk.text
    assert text == expected[1]
    assert asking_handler == [expected[0]]


def test_a_signal_handler_asks_while_the_main_thread_tokenizes(llm, asking_handler, monkeypatch):
    expected = [llm.invoke(text).text for text in ("Who are you?", "Hello.")]
    encoder = llm.backend.runner.encoder.texts
    tokenize = encoder._tokenize

    def interrupted(prompt):
        monkeypatch.undo()
        signal.raise_signal(signal.SIGUSR1)
        return tokenize(prompt)

    monkeypatch.setattr(encoder, "_tokenize", interrupted)
    assert llm.invoke("Hello.").text == expected[1]
    assert asking_handler == [expected[0]]
    assert llm.invoke("Hello.").text == expected[1]


def test_a_signal_handler_asks_while_the_main_thread_loads_the_model(tiny_checkpoint, monkeypatch):
    llm = ChatVipLlava(model=str(tiny_checkpoint), max_tokens=3, cache_bytes=12_345)
    load, outcomes = runner_module.load_checkpoint, []

    def handler(number, frame):
        with pytest.raises(GenerationError, match="is being loaded") as caught:
            llm.invoke("Who are you?")
        outcomes.append(caught)

    def interrupted(options):
        signal.raise_signal(signal.SIGUSR1)
        return load(options)

    monkeypatch.setattr(runner_module, "load_checkpoint", interrupted)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        assert llm.invoke("Hello.").text
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(outcomes) == 1


def test_a_signal_handler_asks_about_the_image_whose_question_it_interrupts(llm, photo):
    settings = ChatRequest(Conversation(()), max_tokens=3)
    workspace = Workspace(model=BackendVision(llm.backend, settings))
    image, outcomes = workspace.add_image(photo), []

    def handler(number, frame):
        with pytest.raises(GenerationError, match="of its own thread") as caught:
            workspace.ask(image, "Why?")
        outcomes.append(caught)

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        signal_at_next_step(llm)
        assert workspace.ask(image, "What is it?").text
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(outcomes) == 1
    assert workspace.ask(image, "Why?").text
