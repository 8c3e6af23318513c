"""The dtype of "auto" on a CPU by what fits, containers included; weights that do not fit are refused unread."""

from __future__ import annotations

import pytest
import torch
import transformers
from langchain_core.messages import HumanMessage
from PIL import Image

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine import dtype_choice, runner
from langchain_vipllava.engine.dtype_choice import check_fits, choose_dtype, choose_half, cpu_flags
from langchain_vipllava.engine.free_memory import container_rooms, free_bytes
from langchain_vipllava.engine.loading import published_config
from langchain_vipllava.protocol.load_options import LoadOptions

GIB = 2**30
SEVEN = LoadOptions("llava-hf/vip-llava-7b-hf", device="cpu")
MODERN, OLD = frozenset({"avx2", "avx512_bf16"}), frozenset({"avx2"})


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


V2_STAT = f"anon {2 * GIB}\ninactive_file {GIB}\nactive_file 5\n"
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
        [6 * GIB],
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
            "sys/fs/cgroup/memory/memory.stat": f"total_inactive_file {GIB // 2}\n",
        },
        [3 * GIB // 2],
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


@pytest.mark.parametrize(
    ("free", "flags", "dtype"),
    [
        (40, MODERN, "float32"),
        (20, MODERN, "bfloat16"),
        (20, OLD, "float16"),
        (30, OLD, "float16"),
        (31, OLD, "float32"),
    ],
)
def test_auto_is_the_widest_dtype_that_fits(monkeypatch, free, flags, dtype):
    monkeypatch.setattr(dtype_choice, "cpu_flags", lambda: flags)
    choice = choose_dtype(published_config(SEVEN.model), SEVEN, "cpu", free=free * GIB)
    assert choice.dtype == dtype == choice.estimate.dtype
    assert ("30.4 GiB of" in choice.reason) == (dtype != "float32")


@pytest.mark.parametrize(
    ("own", "flags", "half"),
    [
        ("float16", {"avx512_fp16", "amx_bf16"}, "float16"),  # a Xeon from 2023
        ("float16", {"avx512_bf16"}, "bfloat16"),  # a Zen 4
        ("float16", {"bf16", "fphp"}, "float16"),  # an Arm server
        ("bfloat16", {"fphp"}, "float16"),
        ("float16", {"avx2"}, "float16"),
        ("bfloat16", set(), "bfloat16"),
    ],
)
def test_of_16_bits_those_that_the_cpu_calculates_in_and_else_the_checkpoints(own, flags, half):
    assert choose_half(own, frozenset(flags)) == half


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


@pytest.mark.parametrize("flags", [MODERN, frozenset({"avx512_fp16"})])
def test_where_float32_does_not_fit_16_bits_are_loaded_and_answer(fresh, monkeypatch, flags):
    chat, full = fresh
    monkeypatch.setattr(dtype_choice, "free_bytes", lambda device: full.total - 1)
    monkeypatch.setattr(dtype_choice, "cpu_flags", lambda: flags)
    assert answer(chat).usage_metadata["output_tokens"] >= 1
    assert chat.backend.runner.model.dtype == (torch.bfloat16 if flags is MODERN else torch.float16)


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
