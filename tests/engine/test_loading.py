"""Loading a checkpoint: errors, the stale config of the 7B, one load for all chat models."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, LlamaConfig, LlamaForCausalLM, VipLlavaForConditionalGeneration

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine.loading import FEATURE_LAYERS
from langchain_vipllava.engine.runner import unload_models
from langchain_vipllava.prompt.conversation import Conversation, Turn
from tests.support.checkpoints import feature_key, make_processor, make_tokenizer
from tests.support.engine import engine_request
from tests.support.plain_generate import PlainGenerate


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    """A copy of the checkpoint that a test may damage."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "copy")


def change_config(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def drop_files(folder, *names):
    for name in names:
        (folder / name).unlink(missing_ok=True)


def truncate(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100_000])


def drop_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    kept = {key: value for key, value in weights.items() if ".layers.1.mlp." not in key or "language" not in key}
    assert len(kept) == len(weights) - 3
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def save_llama(folder):
    for path in folder.iterdir():
        path.unlink()
    config = LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2)
    LlamaForCausalLM(config).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)


def save_pickle(folder):
    """Write the weights as a pickle, as checkpoints were saved before safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    drop_files(folder, "model.safetensors")


def drop_a_shard(folder):
    model = VipLlavaForConditionalGeneration.from_pretrained(folder)
    drop_files(folder, "model.safetensors")
    model.save_pretrained(folder, max_shard_size="100KB")
    sorted(folder.glob("model-*.safetensors"))[1].unlink()


def corrupt(folder):
    weights = folder / "model.safetensors"
    weights.write_bytes(b"\xff" * 8 + weights.read_bytes()[8:])


def save_adapter(folder):
    """Write what `PeftModel.save_pretrained` does, beside whatever is there."""
    adapter = {"peft_type": "LORA", "base_model_name_or_path": "llava-hf/vip-llava-7b-hf", "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    save_file({"a": torch.zeros(1)}, folder / "adapter_model.safetensors")


def save_adapter_alone(folder):
    save_adapter(folder)
    drop_files(folder, "config.json", "model.safetensors")


PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")
DAMAGE = {
    "a Llama": (save_llama, "'llama' model; expected 'vipllava'"),
    "a LLaVA": (lambda folder: change_config(folder, model_type="llava"), "'llava' model; expected 'vipllava'"),
    "no model type": (lambda folder: change_config(folder, model_type=...), "expected 'vipllava'"),
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "has no config.json"),
    "no config": (lambda folder: drop_files(folder, "config.json"), "has no config.json"),
    "cut config": (lambda folder: (folder / "config.json").write_text('{"model_type": "vipl'), "config.json"),
    "empty config": (lambda folder: (folder / "config.json").write_text(""), "config.json"),
    "list as config": (lambda folder: (folder / "config.json").write_text("[]"), "config.json"),
    "binary config": (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json"),
    "no processor": (lambda folder: drop_files(folder, *PROCESSOR_FILES, *TOKENIZER_FILES), "processor"),
    "no image processor": (lambda folder: drop_files(folder, *PROCESSOR_FILES), "processor"),
    "no tokenizer": (lambda folder: drop_files(folder, *TOKENIZER_FILES), "processor"),
    "truncated weights": (truncate, "Safetensor"),
    "corrupt weights": (corrupt, "cannot load.*[Ss]afetensor"),
    "a missing shard": (drop_a_shard, r"cannot load.*model-00002-of.*Download"),
    "weights as a pickle": (save_pickle, r"pytorch_model\.bin.*can run code.*use_safetensors=False.*save_pretrained"),
    "no weights": (lambda folder: drop_files(folder, "model.safetensors"), "model.safetensors"),
    "adapters alone": (save_adapter_alone, r"adapters of peft.*merge_and_unload"),
    "adapters beside weights": (save_adapter, r"adapters of peft.*delete the adapters"),
    "missing weights": (drop_a_layer, r"lacks 3 of its weights.*layers\.1\.mlp"),
    "layers that do not fit": (lambda folder: change_config(folder, **{feature_key(): [-2, -3]}), "cannot load"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_checkpoint_is_named_in_the_error(copy, name):
    damage, words = DAMAGE[name]
    damage(copy)
    chat = ChatVipLlava(model=str(copy))
    with pytest.raises(CheckpointError, match=words) as caught:
        chat.invoke("Hi")
    assert str(copy) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model": "llava-hf/vip-llava-7b-hf", "local_files_only": True}, "cannot find the checkpoint.*bundled"),
        ({"model": "nobody/nothing-at-all-here", "local_files_only": True}, "cannot find the checkpoint"),
        ({"model": "/no/such/folder"}, "cannot find the checkpoint"),
        ({"model": "spaces and ? marks"}, "cannot find the checkpoint"),
        ({"device": "cuda:99"}, "device='cuda:99'.*device='auto'"),
        ({"device": "warp"}, "device='warp'; expected"),
        ({"attn_implementation": "telepathy"}, "telepathy"),
    ],
    ids=["7B offline", "unknown id", "no folder", "no id", "missing GPU", "unknown device", "unknown attention"],
)
def test_a_model_that_cannot_be_loaded_is_an_error(tiny_checkpoint, settings, words):
    chat = ChatVipLlava(**{"model": str(tiny_checkpoint), **settings})
    with pytest.raises(CheckpointError, match=words):
        chat.invoke("Hi")
    assert ChatVipLlava(model=str(tiny_checkpoint)).invoke("Hi", max_tokens=1)


@pytest.mark.parametrize("dtype", ["int8", "float64", "fp16", ""])
def test_bad_dtype_is_refused_at_construction(dtype):
    with pytest.raises(CheckpointError, match="expected one of auto, float16, bfloat16, float32"):
        ChatVipLlava(model="/nowhere", dtype=dtype)


@pytest.fixture(scope="module")
def published_style(tmp_path_factory):
    """A tiny checkpoint with the published feature layers (-2, -5, -8, -11, 6) in its config."""
    from transformers import CLIPVisionConfig, VipLlavaConfig

    processor = make_processor()
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=12,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
    )
    text = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(processor.tokenizer),
        max_position_embeddings=256,
    )
    config = VipLlavaConfig(
        vision_config=vision.to_dict(),
        text_config=text.to_dict(),
        image_token_index=processor.tokenizer.convert_tokens_to_ids("<image>"),
        **{feature_key(): list(FEATURE_LAYERS)},
    )
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    VipLlavaForConditionalGeneration(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def logits_of(chat, image):
    from langchain_core.messages import HumanMessage

    messages = [HumanMessage([{"type": "image", "image": image}, "What is it?"])]
    encoded = chat.backend.runner.encoder.encode(engine_request(chat, messages, None, {}))
    pixel_values = torch.stack([image.pixels for image in encoded.images])
    with torch.inference_mode():
        return chat.backend.runner.model(input_ids=torch.tensor([encoded.ids]), pixel_values=pixel_values).logits


STALE = {
    "with the right ones": {"vision_feature_layer": -2, "vision_feature_layers": list(FEATURE_LAYERS)},
    "alone": {"vision_feature_layer": -2, "vision_feature_layers": ...},
    "neither": {"vision_feature_layer": ..., "vision_feature_layers": ...},
    "the older name": {"vision_feature_layer": ..., "vision_feature_layers": list(FEATURE_LAYERS)},
    "the newer name": {"vision_feature_layer": list(FEATURE_LAYERS), "vision_feature_layers": ...},
}


@pytest.mark.parametrize("name", STALE)
def test_the_stale_config_of_the_7b_is_corrected(published_style, tmp_path, photo, name):
    stale = shutil.copytree(published_style, tmp_path / "stale")
    change_config(stale, **STALE[name])
    clean, corrected = ChatVipLlava(model=str(published_style)), ChatVipLlava(model=str(stale))
    assert torch.equal(logits_of(clean, photo), logits_of(corrected, photo))
    assert not torch.equal(logits_of(corrected, photo), logits_of(corrected, photo.rotate(90)))


def test_other_feature_layers_are_kept(tiny_checkpoint, copy, photo):
    """The tiny checkpoint reads other layers than the published ones."""
    layers = json.loads((copy / "config.json").read_text())[feature_key()]
    change_config(copy, vision_feature_layer=-2, vision_feature_layers=layers)
    clean, corrected = ChatVipLlava(model=str(tiny_checkpoint)), ChatVipLlava(model=str(copy))
    assert torch.equal(logits_of(clean, photo), logits_of(corrected, photo))


@pytest.fixture
def loads(monkeypatch):
    """Counts the loads of weights; `fail` makes them fail."""

    class Loads:
        count = 0
        fail = False

    original = VipLlavaForConditionalGeneration.from_pretrained.__func__

    def counting(cls, *args, **kwargs):
        Loads.count += 1
        if Loads.fail:
            raise OSError("disk unplugged")
        return original(cls, *args, **kwargs)

    monkeypatch.setattr(VipLlavaForConditionalGeneration, "from_pretrained", classmethod(counting))
    return Loads


def test_one_load_for_many_objects_and_threads(copy, loads):
    chats = [ChatVipLlava(model=str(copy), max_tokens=2, seed=index) for index in range(12)]
    assert loads.count == 0
    start = threading.Barrier(12)

    def ask(chat):
        start.wait()
        return chat.invoke("Hi").text

    with ThreadPoolExecutor(12) as pool:
        assert len(set(pool.map(ask, chats))) == 1
    assert loads.count == 1
    assert len({id(chat.backend.runner) for chat in chats}) == 1
    ChatVipLlava(model=str(copy), dtype="bfloat16").invoke("Hi", max_tokens=1)
    assert loads.count == 2


def test_nothing_is_loaded_before_the_first_question(copy, loads):
    chat = ChatVipLlava(model=str(copy))
    repr(chat)
    chat.render_prompt("Hi")
    chat.bind(stop=["x"]).with_config(tags=["a"])
    chat.model_copy()
    assert loads.count == 0
    assert chat.get_token_ids("Hi")
    assert loads.count == 1


def test_a_failed_load_is_tried_again(copy, loads):
    chat = ChatVipLlava(model=str(copy), max_tokens=2)
    loads.fail = True
    for _ in range(2):
        with pytest.raises(CheckpointError, match="disk unplugged"):
            chat.invoke("Hi")
    loads.fail = False
    assert chat.invoke("Hi").text == chat.invoke("Hi").text
    assert loads.count == 3


def test_an_unloaded_model_is_loaded_again(copy, loads):
    chat = ChatVipLlava(model=str(copy), max_tokens=2)
    before = chat.invoke("Hi").text
    unload_models()
    assert chat.invoke("Hi").text == before
    assert loads.count == 2


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtype_is_applied(tiny_checkpoint, dtype, photo):
    chat = ChatVipLlava(model=str(tiny_checkpoint), dtype=dtype, max_tokens=3)
    assert {parameter.dtype for parameter in chat.backend.runner.model.parameters()} == {getattr(torch, dtype)}
    assert chat.invoke([("human", [{"type": "image", "image": photo}, {"type": "text", "text": "What?"}])]).id


def test_dtype_auto_is_float32_on_a_cpu(tiny_checkpoint):
    assert ChatVipLlava(model=str(tiny_checkpoint), device="cpu").backend.runner.model.dtype == torch.float32


def test_attention_kernel_is_applied(tiny_checkpoint, marked):
    eager = ChatVipLlava(model=str(tiny_checkpoint), attn_implementation="eager", max_tokens=8)
    sdpa = ChatVipLlava(model=str(tiny_checkpoint), attn_implementation="sdpa", max_tokens=8)
    assert eager.backend.runner.model.config.text_config._attn_implementation == "eager"
    assert sdpa.backend.runner.model.config.text_config._attn_implementation == "sdpa"
    message = marked.message("What is {0}?")
    assert eager.invoke([message]).text == sdpa.invoke([message]).text


@pytest.mark.parametrize("device_map", ["cpu", "auto", {"": "cpu"}], ids=["cpu", "auto", "mapping"])
def test_device_map_is_applied(tiny_checkpoint, device_map, llm):
    chat = ChatVipLlava(model=str(tiny_checkpoint), device_map=device_map, max_tokens=12, dtype="float32")
    assert chat.backend.runner.model.device.type == "cpu"
    assert chat.invoke("Hi").text == llm.invoke("Hi").text


def test_an_offloaded_model_is_rejected(tiny_checkpoint):
    whole = {"model.vision_tower": "cpu", "model.multi_modal_projector": "cpu", "lm_head": "cpu"}
    layers = {f"model.language_model.layers.{number}": "disk" for number in range(2)}
    others = {f"model.language_model.{part}": "cpu" for part in ("embed_tokens", "norm", "rotary_emb")}
    chat = ChatVipLlava(model=str(tiny_checkpoint), device_map={**whole, **layers, **others})
    with pytest.raises(CheckpointError, match=r"offloads.*quantization='4bit'"):
        chat.invoke("Hi")


def test_from_model_takes_a_loaded_model(llm, tiny_checkpoint, loads):
    expected = llm.invoke("Hi").text
    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    before = loads.count
    chat = ChatVipLlava.from_model(model, llm.backend.runner.processor, max_tokens=12)
    assert chat.backend.runner.model is model
    assert chat.invoke("Hi").text == expected
    assert chat.invoke("Hi").response_metadata["model_name"] == str(tiny_checkpoint)
    assert loads.count == before


def test_from_model_rejects_parts_that_do_not_fit(llm):
    model, processor = llm.backend.runner.model, llm.backend.runner.processor
    wrong = LlamaForCausalLM(
        LlamaConfig(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=32)
    )
    for parts, words in [
        ((wrong, processor), "LlamaForCausalLM is not a ViP-LLaVA"),
        ((None, processor), "is not a ViP-LLaVA"),
        (("llava-hf/vip-llava-7b-hf", processor), "is not a ViP-LLaVA"),
        ((model, None), "has no tokenizer"),
        ((model, processor.tokenizer), "expected the checkpoint's LlavaProcessor"),
        ((model, processor.image_processor), "has no tokenizer"),
    ]:
        with pytest.raises(CheckpointError, match=words):
            ChatVipLlava.from_model(*parts)


class Peft(torch.nn.Module):
    """Stands for peft's `PeftModel`: two layers around the model, and its names looked up in the inner one."""

    def __init__(self, model, *, is_prompt_learning=False):
        super().__init__()
        self.base_model = torch.nn.Module()
        self.base_model.model = model
        self.active_peft_config = SimpleNamespace(is_prompt_learning=is_prompt_learning)

    def get_base_model(self):
        return self.base_model.model

    def __getattr__(self, name):
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.base_model, name, None) or getattr(self.base_model.model, name)


class LowRank(torch.nn.Module):
    """A linear layer with an adapter beside it, as peft puts it in a layer's place."""

    def __init__(self, layer):
        super().__init__()
        self.base_layer = layer
        torch.manual_seed(0)
        self.down = torch.nn.Linear(layer.in_features, 2, bias=False)
        self.up = torch.nn.Linear(2, layer.out_features, bias=False)

    def forward(self, hidden):
        return self.base_layer(hidden) + 4 * self.up(self.down(hidden))


def test_a_peft_model_answers_with_its_adapters(tiny_checkpoint):
    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    asked = Conversation((Turn("what is it"),))
    without = PlainGenerate(model, processor).ids(asked, 12)
    for layer in model.model.language_model.layers:
        layer.mlp.down_proj = LowRank(layer.mlp.down_proj)
    adapted = PlainGenerate(model, processor).ids(asked, 12)
    assert adapted != without
    llm = ChatVipLlava.from_model(Peft(model), processor, max_tokens=12)
    assert llm.invoke("what is it").response_metadata["token_ids"] == adapted


def test_a_peft_model_that_learns_a_prompt_is_refused(tiny_checkpoint):
    model = VipLlavaForConditionalGeneration.from_pretrained(tiny_checkpoint).eval()
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    with pytest.raises(CheckpointError, match=r"learned tokens in front of a prompt.*LoRA"):
        ChatVipLlava.from_model(Peft(model, is_prompt_learning=True), processor)


AUTO_MAP = {
    "config.json": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"},
    "processor_config.json": {"AutoProcessor": "evil.Processor"},
    "preprocessor_config.json": {"AutoImageProcessor": "evil.ImageProcessor", "AutoProcessor": "evil.Processor"},
    "tokenizer_config.json": {"AutoTokenizer": ["evil.Tokenizer", "evil.Tokenizer"], "AutoProcessor": "evil.Processor"},
}


@pytest.mark.parametrize("known", [True, False], ids=["kinds that transformers knows", "kinds of its own"])
def test_the_code_of_a_checkpoint_never_runs(copy, known):
    marker = copy / "it_ran"
    (copy / "evil.py").write_text(
        f"open({str(marker)!r}, 'w')\nclass Config: pass\nModel = Processor = Tokenizer = Config\n"
    )
    for name, auto_map in AUTO_MAP.items():
        path = copy / name
        if path.exists():
            config = {**json.loads(path.read_text()), "auto_map": auto_map}
            if not known:
                config.update(processor_class="EvilProcessor", tokenizer_class="EvilTokenizer")
            path.write_text(json.dumps(config))
    llm = ChatVipLlava(model=str(copy), max_tokens=2)
    try:
        assert llm.invoke("Hi").text is not None
    except CheckpointError:
        assert not known
    assert not marker.exists()


def test_a_pickle_beside_safetensors_is_not_read(copy):
    marker = copy / "it_ran"

    class Evil:
        def __reduce__(self):
            return (open, (str(marker), "w"))

    with (copy / "pytorch_model.bin").open("wb") as file:
        pickle.dump(Evil(), file)
    assert ChatVipLlava(model=str(copy), max_tokens=2).invoke("Hi").id
    assert not marker.exists()


@pytest.mark.parametrize(
    ("package", "body", "expected"),
    [
        ("torchvision", "raise RuntimeError('operator torchvision::nms does not exist')", "uninstall torchvision"),
        ("transformers", "raise ImportError('cannot import name GenerationMixin')", "transformers cannot be imported"),
    ],
)
def test_a_package_that_does_not_load_is_named(package, body, expected, tmp_path):
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text(body)
    (folder / "transforms").mkdir()
    info = tmp_path / f"{package}-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.28.0\n")
    code = (
        "from langchain_vipllava import ChatVipLlava, CheckpointError\n"
        "try: ChatVipLlava(model='bundled').invoke('Hi')\n"
        "except CheckpointError as error: print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert expected in run.stdout, run.stderr[-2000:]
    assert len(run.stdout) < 400
