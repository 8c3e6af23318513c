"""The dtype of "auto" on a CPU by what fits, containers included; weights that do not fit are refused unread."""

from __future__ import annotations

import re

import pytest
import torch
import transformers
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine import dtype_choice, runner
from langchain_vipllava.engine.cpu_flags import cpu_flags
from langchain_vipllava.engine.dtype_choice import check_fits, choose_dtype, choose_half
from langchain_vipllava.engine.free_memory import container_rooms, free_bytes
from langchain_vipllava.engine.loading import published_config
from langchain_vipllava.engine.product_speed import ProductSpeed, measure_product
from langchain_vipllava.protocol.load_options import LoadOptions

GIB = 2**30
SEVEN = LoadOptions("llava-hf/vip-llava-7b-hf", device="cpu")
MODERN, OLD = frozenset({"avx2", "avx512_bf16"}), frozenset({"avx2"})


def pretend(monkeypatch, **prompt_tokens):
    """Let a CPU be as fast in a prompt as is said, in picoseconds; a fake, because a machine has one CPU."""
    speeds = {kind: ProductSpeed(token=1e-10, prompt_token=speed * 1e-12) for kind, speed in prompt_tokens.items()}
    monkeypatch.setattr(dtype_choice, "measure_product", speeds.__getitem__)


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


V2_STAT = f"anon {2 * GIB}\ninactive_file {GIB}\nactive_file {GIB // 4}\n"
GROUPS = {
    "version 2": (
        {
            "proc/self/cgroup": "0::/user/app\n",
            "sys/fs/cgroup/user/app/memory.max": "max\n",
            "sys/fs/cgroup/user/app/memory.current": "1000\n",
            "sys/fs/cgroup/user/memory.max": f"{8 * GIB}\n",
            "sys/fs/cgroup/user/memory.current": f"{3 * GIB}\n",
            "sys/fs/cgroup/user/memory.stat": V2_STAT,
        },
        [25 * GIB // 4],
    ),
    "a container of version 2": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{4 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{5 * GIB}\n",
            "sys/fs/cgroup/memory.stat": "anon 1\n",
        },
        [0],
    ),
    "version 1, whose path only the host sees": (
        {
            "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
            "sys/fs/cgroup/memory/memory.stat": f"active_file 7\ntotal_inactive_file {GIB // 2}\ntotal_active_file 9\n",
        },
        [3 * GIB // 2 + 9],
    ),
    "weights that an earlier process has read": (
        {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": f"{16 * GIB}\n",
            "sys/fs/cgroup/memory.current": f"{15 * GIB}\n",
            "sys/fs/cgroup/memory.stat": f"anon {GIB}\nfile {14 * GIB}\ninactive_file {GIB}\nactive_file {13 * GIB}\n",
        },
        [15 * GIB],
    ),
    "no limit": ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, []),
    "no groups": ({}, []),
    "nonsense": ({"proc/self/cgroup": "\n::\nabc\n0::/../..\n"}, []),
}


@pytest.mark.parametrize("name", GROUPS)
def test_the_limit_of_a_container_counts(tmp_path, name):
    files, rooms = GROUPS[name]
    write(tmp_path, files)
    assert list(container_rooms(tmp_path)) == rooms


def test_free_memory_is_that_of_the_tightest_group(monkeypatch):
    import psutil

    from langchain_vipllava.engine import free_memory

    assert 0 < free_bytes("cpu") <= psutil.virtual_memory().total
    monkeypatch.setattr(free_memory, "container_rooms", lambda: iter([5000, 3000]))
    assert free_bytes("cpu") == 3000


AMX = {"float32": 7.0, "float16": 6.5, "bfloat16": 1.1}  # of the products of `langchain-vipllava doctor` on a Xeon
AVX2 = {"float32": 7.0, "float16": 63.0, "bfloat16": 64.0}  # the same one without AVX-512: ONEDNN_MAX_CPU_ISA=AVX2


@pytest.mark.parametrize(
    ("free", "flags", "speeds", "dtype"),
    [
        (40, MODERN, AMX, "float32"),
        (20, MODERN, AMX, "bfloat16"),
        (20, OLD, AVX2, "float16"),
        (30, OLD, AVX2, "float16"),
        (31, OLD, AVX2, "float32"),
    ],
)
def test_auto_is_the_widest_dtype_that_fits(monkeypatch, free, flags, speeds, dtype):
    monkeypatch.setattr(dtype_choice, "cpu_flags", lambda: flags)
    pretend(monkeypatch, **speeds)
    choice = choose_dtype(published_config(SEVEN.model), SEVEN, "cpu", free=free * GIB)
    assert choice.dtype == dtype == choice.estimate.dtype
    assert ("30.4 GiB of" in choice.reason) == (dtype != "float32")


@pytest.mark.parametrize(
    ("own", "float16", "bfloat16", "half"),
    [
        ("float16", 6.5, 1.1, "bfloat16"),
        ("bfloat16", 6.5, 1.1, "bfloat16"),
        ("bfloat16", 1.1, 6.5, "float16"),
        ("float16", 64.0, 63.0, "float16"),  # hardly slower: its files need no conversion
        ("bfloat16", 63.0, 64.0, "bfloat16"),
    ],
)
def test_of_16_bits_those_in_which_this_cpu_is_faster_and_else_the_checkpoints(
    monkeypatch, own, float16, bfloat16, half
):
    pretend(monkeypatch, float16=float16, bfloat16=bfloat16)
    chosen, why = choose_half(own)
    assert chosen == half
    assert re.search(rf"an answer of a 7B would take \d+ s, in {({'float16', 'bfloat16'} - {half}).pop()} \d+ s", why)


@pytest.mark.parametrize(
    ("free", "speeds", "dtype", "why"),
    [
        (40, AMX, "bfloat16", "for what is not in 8bit; which this CPU"),
        (40, AVX2, "float32", "a prompt takes 9.0 times as long in float16 here"),
        (9, AVX2, "float16", "float32 needs 12.3 GiB of 9.0 GiB free"),
    ],
)
def test_what_quantization_leaves_is_in_16_bits_where_they_are_not_slow(monkeypatch, free, speeds, dtype, why):
    pretend(monkeypatch, **speeds)
    options = LoadOptions("x", quantization="8bit")
    choice = choose_dtype(published_config(SEVEN.model), options, "cpu", free=free * GIB)
    assert choice.dtype == dtype
    assert why in choice.reason


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16", "8bit", "4bit"])
def test_a_product_is_measured_on_this_cpu(kind):
    if kind in ("8bit", "4bit"):
        pytest.importorskip("bitsandbytes")
    speed = measure_product(kind)
    assert 0 < speed.prompt_token < float("inf")
    assert 0 < speed.token < float("inf")
    assert speed.seconds(10**9, 600, 0) == pytest.approx(6e11 * speed.prompt_token)
    assert speed.seconds(10**9, 0, 64) == pytest.approx(64e9 * speed.token)


def test_the_flags_of_this_cpu_are_read():
    assert cpu_flags() or not torch.backends.cpu.get_cpu_capability()


def test_a_given_dtype_and_a_gpu_are_left_as_they_are():
    config = published_config(SEVEN.model)
    for options, device in (
        (LoadOptions("x", dtype="float32"), "cpu"),
        (LoadOptions("x"), "cuda"),
        (LoadOptions("x"), "mps"),
    ):
        assert choose_dtype(config, options, device, free=GIB).dtype == options.dtype


def answer(chat):
    picture = {"type": "image", "image": Image.new("RGB", (60, 40), "teal")}
    return chat.invoke([HumanMessage([picture, {"type": "text", "text": "What is it?"}])], max_tokens=4)


@pytest.fixture
def fresh(tiny_checkpoint, monkeypatch):
    """A chat model whose checkpoint is not loaded yet, and the sizes of its weights in float32."""
    monkeypatch.setattr(runner, "_runners", {})
    config = transformers.AutoConfig.from_pretrained(tiny_checkpoint)
    options = LoadOptions(str(tiny_checkpoint), device="cpu")
    return ChatVipLlava(model=str(tiny_checkpoint), device="cpu"), choose_dtype(config, options, "cpu").estimate


@pytest.mark.parametrize("speeds", [AMX, {"bfloat16": 6.5, "float16": 1.1}])
def test_where_float32_does_not_fit_16_bits_are_loaded_and_answer(fresh, monkeypatch, speeds):
    chat, full = fresh
    monkeypatch.setattr(dtype_choice, "free_bytes", lambda device: full.total - 1)
    pretend(monkeypatch, **speeds)
    assert answer(chat).usage_metadata["output_tokens"] >= 1
    assert chat.backend.runner.model.dtype == (torch.bfloat16 if speeds is AMX else torch.float16)


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16"])
def test_weights_that_do_not_fit_are_refused_before_they_are_read(fresh, monkeypatch, dtype):
    chat, full = fresh
    chat = chat.model_copy(update={}) if dtype == "auto" else ChatVipLlava(model=chat.model, device="cpu", dtype=dtype)
    monkeypatch.setattr(dtype_choice, "free_bytes", lambda device: full.weights // 2 - 1)
    monkeypatch.setattr(
        transformers.VipLlavaForConditionalGeneration, "from_pretrained", lambda *_, **__: pytest.fail("was read")
    )
    with pytest.raises(CheckpointError, match=r"does not fit: its weights take 0\.00 GiB in \w+, 0\.00 GiB are free"):
        answer(chat)


def test_the_refusal_names_sizes_and_ways_out(monkeypatch):
    config = published_config(SEVEN.model)
    monkeypatch.setattr(dtype_choice, "free_bytes", lambda device: 8 * GIB)
    pretend(monkeypatch, **AVX2)
    for options, device, words in (
        (SEVEN, "cpu", r"13\.2 GiB in float16, 8\.0 GiB are free on cpu\. Use quantization='8bit', "),
        (LoadOptions("x", dtype="float32"), "cpu", r"26\.4 GiB in float32.*Use dtype='bfloat16', quant"),
        (LoadOptions("x"), "cuda:0", r"13\.2 GiB in float16, 8\.0 GiB are free on cuda:0"),
    ):
        with pytest.raises(CheckpointError, match=words) as caught:
            check_fits(options, device, choose_dtype(config, options, device, free=8 * GIB))
        assert len(str(caught.value)) < 400
    packed = LoadOptions("x", quantization="4bit")
    check_fits(packed, "cuda:0", choose_dtype(config, packed, "cuda:0"))  # 4.1 GiB
    spread = LoadOptions("x", device_map="auto")
    check_fits(spread, "cuda:0", choose_dtype(config, spread, "cuda:0"))
