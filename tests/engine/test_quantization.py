"""Weights of 8 and 4 bits on a CPU: the answers of plain `generate`, whatever is asked beside them, and no noise."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoProcessor, VipLlavaForConditionalGeneration

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine.cpu_flags import cpu_flags
from langchain_vipllava.engine.dtype_choice import choose_dtype
from langchain_vipllava.engine.int8_product import scaled_product
from langchain_vipllava.engine.loading import load_checkpoint, load_config
from langchain_vipllava.engine.memory_plan import ParameterCount, estimate_memory
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.protocol.load_options import BUNDLED_FOLDER, LoadOptions
from tests.support.command_line import run
from tests.support.plain_generate import PlainGenerate, random_question, request
from training.cases import identify, make_cases
from training.evaluate import Checkpoint

pytest.importorskip("bitsandbytes")
WIDTHS = ["8bit", "4bit"]


def load(folder, quantization, dtype="float32"):
    return load_checkpoint(LoadOptions(str(folder), device="cpu", dtype=dtype, quantization=quantization))


@pytest.fixture(scope="module")
def quantized(tiny_checkpoint):
    return {width: load(tiny_checkpoint, width) for width in WIDTHS}


def questions(count, seed=0):
    """Questions of different lengths, half of them about an image."""
    rng = np.random.default_rng(seed)
    noise = EncodedImage.from_pixels(Image.fromarray(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8)))
    images = [(noise,) if number % 2 else () for number in range(count)]
    return [Conversation((Turn(random_question(rng), image),)) for image in images]


def answer(runner, conversations, max_tokens=12):
    """Ask at once, and return the tokens of each."""
    handles = [runner.submit(request(conversation, max_tokens=max_tokens)) for conversation in conversations]
    return [list(handle.future.result(timeout=120).token_ids) for handle in handles]


@pytest.mark.parametrize("width", WIDTHS)
def test_an_answer_is_that_of_plain_generate_alone_and_in_company(quantized, width):
    runner = ModelRunner(*quantized[width], cache_bytes=0)
    asked = questions(8)
    together = answer(runner, asked)
    assert len({tuple(tokens) for tokens in together}) > 4
    assert together == [answer(runner, [conversation])[0] for conversation in asked]
    plain = PlainGenerate(*quantized[width])
    assert together == [plain.ids(conversation, 12) for conversation in asked]


def test_a_row_with_large_values_changes_no_other_row(quantized):
    layer = quantized["8bit"][0].get_submodule("model.language_model.layers.0.self_attn.q_proj")
    row = torch.randn(1, layer.in_features, generator=torch.Generator().manual_seed(0))
    beside = 100 * torch.eye(7, layer.in_features)  # beyond the threshold of 6 that transformers would take
    with torch.inference_mode():
        assert torch.equal(layer(torch.cat([row, beside]))[:1], layer(row))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_product_of_8_bits_is_exact(bias, dtype):
    generator = torch.Generator().manual_seed(1)
    rows = torch.randint(-127, 128, (2, 5, 1000), dtype=torch.int8, generator=generator)
    weight = torch.randint(-127, 128, (70, 1000), dtype=torch.int8, generator=generator)
    scales, weight_scales, added = (torch.rand(size, generator=generator) for size in (10, 70, 70))
    integers = rows.double() @ weight.double().T
    expected = integers * scales.reshape(2, 5, 1).double() * weight_scales.double() / 127**2 + bias * added.double()
    product = scaled_product(rows, weight, scales, weight_scales, added if bias else None, dtype)
    assert product.dtype == dtype
    assert product.is_contiguous()
    torch.testing.assert_close(
        product.double(), expected.to(dtype).double(), rtol=1e-6 if dtype.itemsize > 2 else 8e-3, atol=1e-4
    )


@pytest.mark.skipif("avx512_vnni" not in cpu_flags(), reason="elsewhere bitsandbytes multiplies in its own way")
def test_bitsandbytes_multiplies_with_it(quantized):
    layer = quantized["8bit"][0].get_submodule("model.language_model.layers.0.self_attn.q_proj")
    row = torch.randn(3, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(), torch.profiler.profile() as profile:
        result = layer(row)
    assert "bitsandbytes::int8_mm_dequant" not in {event.key for event in profile.key_averages()}
    weight = layer.state.CB.double() * layer.state.SCB.double().reshape(-1, 1) / 127
    torch.testing.assert_close(result.double(), row.double() @ weight.T, rtol=0.05, atol=0.02)


def kinds_of_linears(model):
    """The class of the linear layers in each part of a model."""
    named = [(name, type(module).__name__) for name, module in model.named_modules() if hasattr(module, "in_features")]
    return {re.sub(r"^model\.(\w+)\..*", r"\1", name): kind for name, kind in named}


@pytest.mark.parametrize(("width", "kind"), [("8bit", "Linear8bitLt"), ("4bit", "Linear4bit")])
def test_the_language_model_is_quantized_and_nothing_else(quantized, width, kind):
    model, _ = quantized[width]
    assert kinds_of_linears(model) == {
        "vision_tower": "Linear", "multi_modal_projector": "Linear", "language_model": kind, "lm_head": "Linear",
    }  # fmt: skip
    assert model.dtype == torch.float32


@pytest.mark.parametrize("own", ["bfloat16", "float16"])
def test_4_bits_are_multiplied_in_the_checkpoints_own_dtype_on_a_gpu(tiny_checkpoint, tmp_path, monkeypatch, own):
    """The dtype "auto" is left to transformers there alone. In float16, what was trained in bfloat16 may overflow."""
    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint, dtype=getattr(torch, own))
    model.save_pretrained(tmp_path)
    AutoProcessor.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)

    def choose(config, options, device):
        return choose_dtype(config, options, "cuda")

    monkeypatch.setattr("langchain_vipllava.engine.loading.choose_dtype", choose)
    loaded, _ = load(tmp_path, "4bit", "auto")
    layer = loaded.get_submodule("model.language_model.layers.0.self_attn.q_proj")
    assert layer.compute_dtype == loaded.dtype == getattr(torch, own)


def test_the_estimate_is_what_is_held(tiny_checkpoint):
    for width in WIDTHS:
        options = LoadOptions(str(tiny_checkpoint), device="cpu", dtype="bfloat16", quantization=width)
        model, _ = load(tiny_checkpoint, width, "bfloat16")
        with torch.inference_mode():
            model(input_ids=torch.tensor([[1, 5]]))  # packs the weights for the CPU
        layers = list(model.get_submodule("model.language_model.layers").parameters())
        scales = [layer.quant_state.absmax for layer in layers if hasattr(layer, "quant_state")]
        held = sum(tensor.nbytes for tensor in [*layers, *scales])
        whole, estimate = (
            estimate_memory(load_config(options), way) for way in (replace(options, quantization=None), options)
        )
        quantizable = ParameterCount.of(load_config(options)).quantizable
        assert held == pytest.approx(2 * quantizable - (whole.weights - estimate.weights), rel=0.03)


def test_a_model_in_training_mode_is_asked_in_evaluation_mode(quantized):
    model, processor = quantized["8bit"]
    runner = ModelRunner(model.train(), processor)
    assert not any(module.training for module in runner.model.modules())


def test_4_bits_need_layers_of_whole_blocks():
    chat = ChatVipLlava(model="bundled", quantization="4bit", device="cpu")
    with pytest.raises(CheckpointError, match=r"multiples of 64, not hidden_size 160.*quantization='8bit'") as caught:
        chat.invoke("Hi")
    assert len(str(caught.value)) < 400


def test_the_command_line_names_its_option(tmp_path):
    Image.new("RGB", (60, 40)).save(tmp_path / "teal.png")
    result = run("ask", tmp_path / "teal.png", "What?", "--quantization", "4bit", "--device", "cpu")
    assert result.returncode == 1
    assert "--quantization 4bit on a CPU; expected layer sizes" in result.stderr


def test_the_bundled_checkpoint_answers_in_8_bits_as_in_float32():
    rng = np.random.default_rng(5)
    cases = make_cases(lambda: identify(rng, "rectangle"), 60)
    plain, packed = (Checkpoint(BUNDLED_FOLDER, quantization=width).answer(cases) for width in (None, "8bit"))
    assert sum(one != other for one, other in zip(plain, packed, strict=True)) <= 2
    assert np.mean([case.answer.lower() in answer.lower() for case, answer in zip(cases, packed, strict=True)]) > 0.9


QUIET = """
from langchain_vipllava import ChatVipLlava
print(ChatVipLlava(model="bundled", quantization="8bit", device="cpu").invoke("Hi", max_tokens=2).content)
"""


def test_bitsandbytes_is_quiet_and_fetches_nothing(tmp_path):
    (tmp_path / "kernels.py").write_text("def get_kernel(*_, **__):\n    print('FETCHED')\n")
    run = subprocess.run(
        [sys.executable, "-c", QUIET], capture_output=True, text=True, timeout=120, check=True,
        env={"PYTHONPATH": f"{tmp_path}:{':'.join(path for path in sys.path if path)}", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert run.stdout.strip()
    assert "FETCHED" not in run.stdout
    assert not re.search("cast|kernels|bitsandbytes", run.stderr)
