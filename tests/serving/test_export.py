"""`langchain-vipllava export`: what is written serves rightly, and a checkpoint that would not is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment
from PIL import Image
from transformers import AutoConfig, AutoProcessor

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.image_processor import pillow_processor
from langchain_vipllava.engine.loading import load_config, load_processor
from langchain_vipllava.engine.request import GenerationRequest
from langchain_vipllava.errors import PromptError
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS, Prompt, Segment
from langchain_vipllava.protocol.load_options import BUNDLED_FOLDER, LoadOptions
from langchain_vipllava.serving.export import export_checkpoint
from langchain_vipllava.serving.export_check import check_export
from langchain_vipllava.serving.prompt_cases import chat_messages
from langchain_vipllava.serving.served_folder import ServedFolder
from tests.support.checkpoints import FEATURE_LAYERS
from tests.support.command_line import run

CASES = json.loads((Path(__file__).parents[1] / "data" / "prompt_cases.json").read_text())["cases"]
PICTURE = EncodedImage.from_pixels(Image.new("RGB", (40, 20), "teal"))
TEXTS = [
    "",
    "  ",
    "What?",
    " padded ",
    "USER: x ASSISTANT: y ###Human:",
    "a\n b\n\n",
    "é 猫 🙂",
    '{"a": [1]} {{ x }}',
    "###",
]


@pytest.fixture(scope="module")
def encoder():
    options = LoadOptions("bundled")
    return PromptEncoder(load_processor(options), load_config(options))


@pytest.fixture(scope="module")
def processor(exported):
    return AutoProcessor.from_pretrained(exported, local_files_only=True)


@pytest.fixture
def copy(tiny_checkpoint, tmp_path):
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "copy"))


def change(path, **fields):
    data = json.loads(path.read_text()) | fields
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not ...}))


def render(processor, messages, **arguments):
    arguments.setdefault("add_generation_prompt", True)
    return processor.apply_chat_template(messages, tokenize=False, **arguments)


def test_the_command_writes_a_folder_that_serve_takes(tmp_path):
    result = run("export", "bundled", tmp_path / "new" / "shapes", "--json")
    record = json.loads(result.stdout)
    assert result.returncode == 0
    assert record["prompt_format"] == "user_assistant"
    assert len(record["checks"]) == 4
    assert ServedFolder.read(tmp_path / "new" / "shapes").image_tokens == 169
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["shapes"]


def test_weights_are_linked_or_copied_and_never_altered(exported, tmp_path):
    source = BUNDLED_FOLDER / "model.safetensors"
    copied = export_checkpoint(LoadOptions("bundled"), tmp_path / "copied", weights="copy")
    assert copied.weights == "copied"
    assert (copied.folder / source.name).read_bytes() == source.read_bytes() == (exported / source.name).read_bytes()
    assert not os.path.samefile(copied.folder / source.name, source)
    assert (
        exported / source.name
    ).stat().st_ino == source.stat().st_ino or exported.stat().st_dev != source.stat().st_dev
    assert not (exported / source.name).is_symlink()  # a container that mounts the folder could not follow it


@pytest.mark.parametrize(("singular", "plural"), [(-2, FEATURE_LAYERS), (FEATURE_LAYERS, ...), (..., FEATURE_LAYERS)])
def test_the_vision_layers_are_written_under_both_names(copy, tmp_path, singular, plural):
    change(copy / "config.json", vision_feature_layer=singular, vision_feature_layers=plural)
    folder = export_checkpoint(LoadOptions(str(copy)), tmp_path / "out").folder
    written = json.loads((folder / "config.json").read_text())
    assert written["vision_feature_layer"] == written["vision_feature_layers"] == FEATURE_LAYERS
    loaded = AutoConfig.from_pretrained(folder)
    assert FEATURE_LAYERS in (getattr(loaded, "vision_feature_layer", 0), getattr(loaded, "vision_feature_layers", 0))


def test_a_processor_without_its_numbers_gets_them(copy, tmp_path):
    change(
        copy / "processor_config.json",
        patch_size=...,
        num_additional_image_tokens=...,
        vision_feature_select_strategy=...,
    )
    folder = export_checkpoint(LoadOptions(str(copy)), tmp_path / "out").folder
    written = json.loads((folder / "processor_config.json").read_text())
    assert written["patch_size"] == 14
    assert written["num_additional_image_tokens"] == 1
    assert written["vision_feature_select_strategy"] == "default"
    processor = AutoProcessor.from_pretrained(folder)
    ids = processor(images=[Image.new("RGB", (90, 30))], text="<s>USER: <image>\nx", add_special_tokens=False)[
        "input_ids"
    ]
    assert np.asarray(ids[0]).tolist().count(processor.tokenizer.convert_tokens_to_ids("<image>")) == 16


def test_answers_of_the_export_in_this_process_are_those_of_the_checkpoint(exported, marked):
    answers = [
        ChatVipLlava(model=model, max_tokens=12).invoke([marked.message("What is {0}?")]).response_metadata["token_ids"]
        for model in ("bundled", str(exported))
    ]
    assert answers[0] == answers[1]


@pytest.mark.parametrize("size", [(90, 30), (30, 90), (300, 17), (208, 208), (1000, 640), (1, 500)])
def test_the_processor_makes_the_pixels_of_the_engine(processor, encoder, size):
    noise = np.random.default_rng(size[0]).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    theirs = processor.image_processor(images=[image], return_tensors="np")["pixel_values"][0]
    request = GenerationRequest(Prompt((Segment("<image>", "image"),)), images=(EncodedImage.from_pixels(image),))
    ours = encoder.encode(request).images[0].pixels.numpy()
    assert np.abs(theirs - ours).max() < 1e-5


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["prompt"][:30])
def test_the_template_renders_the_prompt_cases(processor, case):
    turns = [
        Turn(question, (PICTURE,) if index == case["image_turn"] else (), answer)
        for index, (question, answer) in enumerate(case["turns"])
    ]
    assert render(processor, chat_messages(Conversation(tuple(turns)))) == "<s>" + case["prompt"]


def conversations(count):
    """Make random conversations: empty and padded texts, turn markers, several images, system texts."""
    draw = random.Random(20)
    for _ in range(count):
        turns = [
            Turn(draw.choice(TEXTS), (PICTURE,) * draw.choice([0, 0, 1, 2]), draw.choice(TEXTS))
            for _ in range(draw.randint(1, 3))
        ]
        trailing = draw.random() < 0.3
        if not trailing:
            turns[-1] = Turn(turns[-1].question, turns[-1].images)
        yield (
            Conversation(tuple(turns), draw.choice([None, None, "", " Be brief. ", "USER: x"])),
            trailing,
            draw.random() < 0.7,
        )


@pytest.mark.parametrize("name", FORMATS)
def test_the_template_renders_what_the_format_does_or_refuses_what_it_refuses(exported, name):
    class Refused(Exception):
        pass

    def refuse(message):
        raise Refused(message)

    # as transformers compiles a template; through a processor it is compiled again for each prompt
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    template = environment.from_string((exported / "chat_template.jinja").read_text())
    rendered = refused = 0
    for conversation, trailing, escapes in conversations(1500):
        try:
            prompt = FORMATS[name].render(conversation, allow_partial=trailing, escape_turn_markers=escapes)
            expected = "<s>" + prompt.text
        except PromptError:
            expected = None
        try:
            text = template.render(
                messages=chat_messages(conversation), prompt_format=name, escape_turn_markers=escapes,
                add_generation_prompt=not trailing,
            )  # fmt: skip
        except Refused:
            text = None
        refused += text is None
        rendered += text is not None
        if text is not None or not trailing:  # a part of a conversation may have empty questions, to be counted
            assert text == expected
    assert rendered > 300
    assert refused > 100


def test_the_tokenizer_makes_the_ids_of_the_training_of_a_whole_prompt(processor, encoder):
    compared = 0
    for conversation, trailing, escapes in conversations(400):
        for name in FORMATS:
            try:
                prompt = FORMATS[name].render(conversation, allow_partial=trailing, escape_turn_markers=escapes)
            except PromptError:
                continue
            text = "<s>" + prompt.text.replace("<image>", "<image>" * encoder.image_tokens)
            assert tuple(processor.tokenizer(text, add_special_tokens=False)["input_ids"]) == encoder.encode_text(
                prompt
            )
            compared += 1
    assert compared > 300


def test_a_chat_server_finds_a_prompt_to_continue(processor):
    messages = [{"role": "user", "content": "What is it?"}, {"role": "assistant", "content": "A red"}]
    for name, begin in (("user_assistant", "<s>USER: What is it?ASSISTANT: A red"), ("llava_v1", None)):
        text = render(processor, messages, prompt_format=name, add_generation_prompt=False, continue_final_message=True)
        assert text.endswith("ASSISTANT: A red")
        assert begin in (None, text)


def test_consecutive_messages_and_tool_results_are_read_as_the_chat_model_reads_them(processor):
    llm = ChatVipLlava(model="bundled")
    talk = [
        ("system", "S1"),
        ("human", "a"),
        ("human", "b"),
        ("ai", "c"),
        ("ai", "d"),
        ("system", "S2"),
        ("human", "e"),
    ]
    roles = {"human": "user", "ai": "assistant", "system": "system"}
    for messages in (talk, talk[:5], talk[3:]):
        text = render(processor, [{"role": roles[role], "content": content} for role, content in messages])
        assert text == "<s>" + llm.render_prompt(messages)
    parts = [{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}]
    assert render(processor, [{"role": "user", "content": parts}]) == "<s>USER: <image>\na\nbASSISTANT:"
    tool = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "tool", "content": ""}]
    assert render(processor, tool) == "<s>USER: aASSISTANT: bUSER: (no output)ASSISTANT:"


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([{"role": "user", "content": "What does <image> mean?"}], "<image>"),
        (
            [
                {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b</s>"},
                {"role": "user", "content": "c"},
            ],
            "</s>",
        ),
        ([{"role": "user", "content": "<s>"}], "<s>"),
        ([{"role": "user", "content": [{"type": "audio"}]}], "neither text nor image"),
        ([{"role": "system", "content": "a"}], "without a question"),
        ([{"role": "user", "content": " "}], "empty question"),
        ([{"role": "narrator", "content": "a"}], "unknown role"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "", "tool_calls": [{}]}], "tool_calls"),
    ],
)
def test_the_template_refuses_what_it_cannot_say_rightly(processor, messages, words):
    with pytest.raises(Exception, match=words):
        render(processor, messages)


def test_an_unknown_format_of_a_request_is_refused(processor):
    with pytest.raises(Exception, match="llava_v1"):
        render(processor, [{"role": "user", "content": "a"}], prompt_format="chatml")


def test_the_default_format_is_the_one_that_was_asked_for(copy, tmp_path):
    result = run("export", copy, tmp_path / "out", "--prompt-format", "llava_v1")
    assert result.returncode == 0, result.stderr
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert render(processor, [{"role": "user", "content": "Hi."}]).endswith("questions. USER: Hi. ASSISTANT:")
    assert "not known" not in result.stderr


def test_settings_of_generation_that_the_engine_does_not_apply_are_left_out(copy, tmp_path):
    change(copy / "generation_config.json", repetition_penalty=1.7, temperature=0.3, do_sample=True, max_new_tokens=7)
    folder = export_checkpoint(LoadOptions(str(copy)), tmp_path / "out").folder
    assert set(json.loads((folder / "generation_config.json").read_text())) == {
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
    }


def test_code_of_a_checkpoint_is_not_taken_over(copy, tmp_path):
    change(copy / "config.json", auto_map={"AutoConfig": "evil.Config"})
    (copy / "evil.py").write_text("raise SystemExit")
    folder = export_checkpoint(LoadOptions(str(copy)), tmp_path / "out").folder
    assert "auto_map" not in json.loads((folder / "config.json").read_text())
    assert not (folder / "evil.py").exists()


def shorten_weights(copy):
    data = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(data[:-10])


def only_pickles(copy):
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")


def point_outside(copy):
    index = {"weight_map": {"a": "../model.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))


def other_layers(copy):
    change(copy / "config.json", vision_feature_layer=[-2, -3], vision_feature_layers=[-2, -3])


def other_mean(copy):
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (copy / name).exists():
            settings = json.loads((copy / name).read_text())
            part = settings.get("image_processor", settings)
            if "image_mean" in part:
                part["image_mean"] = [0.1, 0.9, 0.5]
            (copy / name).write_text(json.dumps(settings))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (shorten_weights, "not a complete safetensors file"),
        (only_pickles, "expected weights as safetensors"),
        (point_outside, "expected safetensors files beside it"),
        (other_layers, "the config selects 64"),
    ],
)
def test_a_checkpoint_that_would_be_served_wrongly_is_refused(copy, tmp_path, damage, words):
    damage(copy)
    result = run("export", copy, tmp_path / "out")
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.splitlines()[-1]) < 400
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_an_export_pads_with_the_color_of_its_own_mean(copy, tmp_path):
    """The check of every export compares its pixels with those of the engine."""
    other_mean(copy)
    result = run("export", copy, tmp_path / "out")
    assert result.returncode == 0, result.stderr
    exported = pillow_processor(AutoProcessor.from_pretrained(tmp_path / "out").image_processor)
    pixels = exported(images=[Image.new("RGB", (90, 30), "red")], return_tensors="np")["pixel_values"][0]
    corner = pixels[:, 0, 0] * exported.image_std + exported.image_mean
    assert np.abs(255 * corner - [25, 229, 127]).max() < 0.01


def test_an_export_with_other_pixels_than_the_engines_is_refused(copy, tmp_path):
    assert run("export", copy, tmp_path / "out").returncode == 0
    options = LoadOptions(str(copy))
    config, processor = load_config(options), load_processor(options)
    check_export(tmp_path / "out", config, processor)
    processor.image_processor.image_mean = [0.1, 0.9, 0.5]
    with pytest.raises(CheckpointError, match="makes other pixels of a wide image"):
        check_export(tmp_path / "out", config, processor)


def test_a_folder_with_files_is_not_touched(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert "not empty" in run("export", "bundled", tmp_path).stderr
    assert "is a file" in run("export", "bundled", tmp_path / "mine.txt").stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="cannot find the checkpoint"):
        export_checkpoint(LoadOptions("nobody/nothing", local_files_only=True), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_shards_are_taken_over_with_their_index(copy, tmp_path):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    names = sorted(tensors)
    halves = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in halves.items():
        save_file({name: tensors[name] for name in part}, copy / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, part in halves.items() for name in part}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    (copy / "model.safetensors").unlink()
    folder = export_checkpoint(LoadOptions(str(copy)), tmp_path / "out").folder
    assert {path.name for path in folder.glob("*.safetensors*")} == {*halves, "model.safetensors.index.json"}
    (copy / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": index["weight_map"] | {"x": "model-1.safetensors"}})
    )
    with pytest.raises(CheckpointError, match="lacks 1 of its weights"):
        export_checkpoint(LoadOptions(str(copy)), tmp_path / "again")
