"""Weights in oneDNN's layout, for the processors on which they are faster: the same answers."""

from __future__ import annotations

import copy
import pickle
import shutil
import weakref
from pathlib import Path

import pytest
import torch

from langchain_vipllava.engine import packed_linear
from langchain_vipllava.engine import runner as runner_module
from langchain_vipllava.engine.loading import load_checkpoint
from langchain_vipllava.engine.packed_linear import PackedLinear, pack_where_faster
from langchain_vipllava.engine.runner import ModelRunner, get_runner
from langchain_vipllava.protocol.load_options import LoadOptions
from tests.engine.test_engine import follow_random_schedules

pytestmark = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()), reason="needs oneDNN and MKL"
)


@pytest.fixture
def on_amd(monkeypatch):
    """The processor says that AMD made it, and small layers are packed too."""
    monkeypatch.setattr(packed_linear, "cpu_vendor", lambda: "AuthenticAMD")
    monkeypatch.setattr(packed_linear, "cpu_flags", lambda: {"avx2", "avx512f"})
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 1)


@pytest.fixture
def packed(parts, on_amd):
    model = copy.deepcopy(parts[0])
    linear = [module for module in model.modules() if type(module) is torch.nn.Linear]
    assert pack_where_faster(model) == len(linear) > 20
    return model


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 48), (7, 48), (2, 300, 48), (1, 1, 48)])
def test_a_packed_layer_computes_what_the_layer_does(shape, bias):
    layer = torch.nn.Linear(48, 80, bias=bias)
    with torch.inference_mode():
        states = torch.randn(shape)
        torch.testing.assert_close(PackedLinear(layer)(states), layer(states), atol=1e-5, rtol=1e-5)
        strided = torch.randn(*shape[:-1], 96)[..., ::2]
        torch.testing.assert_close(PackedLinear(layer)(strided), layer(strided), atol=1e-5, rtol=1e-5)


def test_random_schedules_return_the_tokens_of_plain_generate(parts, packed, plain, images):
    follow_random_schedules(ModelRunner(packed, parts[1]), plain, images, seed=7, schedules=10)


def test_a_packed_model_can_be_saved(parts, packed, tmp_path):
    before, after = parts[0].state_dict(), packed.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    packed.save_pretrained(tmp_path)
    loaded = type(packed).from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(before[name], loaded[name]) for name in before)


def test_a_weight_that_is_shared_stays_shared(parts, on_amd):
    model = copy.deepcopy(parts[0])
    model.lm_head.weight = model.get_input_embeddings().weight
    pack_where_faster(model)
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert type(model.model.language_model.layers[0].mlp.down_proj) is PackedLinear


def test_other_processors_and_dtypes_keep_their_layers(parts, on_amd, monkeypatch):
    assert pack_where_faster(copy.deepcopy(parts[0]).bfloat16()) == 0
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 2**19)
    assert pack_where_faster(copy.deepcopy(parts[0])) == 0
    monkeypatch.setattr(packed_linear, "MIN_WEIGHTS", 1)
    monkeypatch.setattr(packed_linear, "cpu_flags", lambda: {"avx2"})
    assert pack_where_faster(copy.deepcopy(parts[0])) == 0
    monkeypatch.setattr(packed_linear, "cpu_flags", lambda: {"avx2", "avx512f"})
    assert pack_where_faster(copy.deepcopy(parts[0])) > 0
    monkeypatch.setattr(packed_linear, "cpu_vendor", lambda: "GenuineIntel")
    assert pack_where_faster(copy.deepcopy(parts[0])) == 0


@pytest.mark.parametrize("compiled", [None, True])
def test_a_model_that_is_loaded_is_packed_unless_it_is_compiled(tiny_checkpoint, on_amd, monkeypatch, compiled):
    monkeypatch.setattr(runner_module, "_runners", {})
    runner = get_runner(LoadOptions(str(tiny_checkpoint), device="cpu", dtype="float32", compile_decode=compiled))
    kinds = {type(module) for module in runner.model.modules()}
    assert (PackedLinear in kinds) is (compiled is None)
    assert runner.decode_path.startswith("compiled" if compiled else "eager")


def test_each_plain_weight_is_freed_before_the_next_layer_is_packed(parts, on_amd, monkeypatch):
    model = copy.deepcopy(parts[0])
    weights = [weakref.ref(module.weight) for module in model.modules() if type(module) is torch.nn.Linear]
    left = []

    class Watched(PackedLinear):
        def __init__(self, layer):
            left.append(sum(weight() is not None for weight in weights))
            super().__init__(layer)

    monkeypatch.setattr(packed_linear, "PackedLinear", Watched)
    pack_where_faster(model)
    assert left == list(range(len(weights), 0, -1))


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_packed_model_does_not_hold_the_file_that_it_came_from(tiny_checkpoint, on_amd, tmp_path):
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "mapped")
    model, _ = load_checkpoint(LoadOptions(str(folder), device="cpu", dtype="float32"))
    if str(folder) not in Path("/proc/self/maps").read_text():
        pytest.skip("this version of transformers reads files")
    assert pack_where_faster(model)
    assert str(folder) not in Path("/proc/self/maps").read_text()


def test_gradients_pass_through_a_packed_layer():
    layer, states = torch.nn.Linear(48, 80), torch.randn(3, 48, requires_grad=True)
    packed = PackedLinear(copy.deepcopy(layer))
    wanted = torch.autograd.grad(layer(states).square().sum(), (states, layer.bias))
    found = torch.autograd.grad(packed(states).square().sum(), (states, packed.bias))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_a_packed_layer_follows_the_dtype_of_its_input(dtype):
    layer, states = torch.nn.Linear(48, 80), torch.randn(3, 48, dtype=dtype)
    with torch.inference_mode():
        found = PackedLinear(copy.deepcopy(layer)).to(dtype)(states)
        torch.testing.assert_close(found, layer.to(dtype)(states))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_packed_layer_can_be_copied_and_pickled(duplicate):
    packed = PackedLinear(torch.nn.Linear(48, 80))
    copied = duplicate(packed)
    assert torch.equal(copied.weight, packed.weight)
    with torch.inference_mode():
        assert torch.equal(copied(torch.ones(2, 48)), packed(torch.ones(2, 48)))
