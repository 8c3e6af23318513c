"""Export a training state as a checkpoint for plain transformers: `python -m training.export STATE FOLDER`."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import VipLlavaForConditionalGeneration

from training.model import CLIP_MEAN, CLIP_STD, FEATURE_LAYERS, IMAGE_SIZE, PATCH_SIZE, TEXT_CONTEXT, build_model
from training.tokenizer import BOS, EOS, IMAGE, PAD, build_tokenizer

# The prompt format of the 7B checkpoint's model page, `user_assistant`; a literal line break follows the image
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% else %}ASSISTANT: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %}{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def export(state: Path, folder: Path) -> None:
    """Export a state of `training.train`, or random weights if the file does not exist.

    Args:
        state: path of `talk.pt`.
        folder: destination of config.json, model.safetensors and the processor's files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer()
    model = build_model(tokenizer)
    if state.exists():
        learner = torch.load(state)["learner"]
        weights = {name.removeprefix("model."): value for name, value in learner.items() if name.startswith("model.")}
        model.load_state_dict(weights)
    export_model(model, folder)
    tokenizer.save_pretrained(folder)
    _write_processor(folder)


def export_model(model: VipLlavaForConditionalGeneration, folder: Path) -> None:
    """Save the weights in float16, to be run in float32. The evaluation scores the same either way."""
    model.generation_config.update(
        bos_token_id=model.config.text_config.bos_token_id,
        eos_token_id=model.config.text_config.eos_token_id,
        pad_token_id=model.config.text_config.pad_token_id,
        max_new_tokens=48,
        do_sample=False,
    )
    model.half().save_pretrained(folder)
    weights = {_hub_name(name): value for name, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)
    config = json.loads((folder / "config.json").read_text())
    # transformers up to 5.22 reads the plural, 5.23 the singular
    config["vision_feature_layer"] = config["vision_feature_layers"] = FEATURE_LAYERS
    config.pop("transformers_version", None)
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = part["torch_dtype"] = "float32"
    config["text_config"]["rope_theta"] = 10000.0  # transformers 4 reads this instead of rope_parameters
    _write(folder / "config.json", config)


def _hub_name(name: str) -> str:
    """Rename a weight as in the 7B checkpoint on the hub; every version of transformers reads those names."""
    name = name.removeprefix("model.")
    for part, inner in (("vision_tower.", "vision_model."), ("language_model.", "model.")):
        if name.startswith(part) and not name.startswith(part + inner):
            name = part + inner + name.removeprefix(part)
    return name


def _write_processor(folder: Path) -> None:
    """Write the configuration of processor and tokenizer with keys that transformers 4.57 and 5.23 both read."""
    side = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    image = {
        "image_processor_type": "CLIPImageProcessor",
        "processor_class": "LlavaProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": IMAGE_SIZE},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": side,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(CLIP_MEAN),
        "image_std": list(CLIP_STD),
    }
    _write(folder / "preprocessor_config.json", image)
    processor = {
        "processor_class": "LlavaProcessor",
        "patch_size": PATCH_SIZE,
        "vision_feature_select_strategy": "default",
        "num_additional_image_tokens": 1,
        "image_token": IMAGE,
    }
    _write(folder / "processor_config.json", processor)
    tokenizer = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "processor_class": "LlavaProcessor",
        "bos_token": BOS,
        "eos_token": EOS,
        "pad_token": PAD,
        "extra_special_tokens": {"image_token": IMAGE},
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": TEXT_CONTEXT,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    _write(folder / "tokenizer_config.json", tokenizer)
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)


def _write(path: Path, content: dict[str, object]) -> None:
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=2) + "\n")
    os.replace(temporary, path)


def main() -> None:
    """Export a state."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("state", type=Path, nargs="?", default=Path("runs/bundled/talk.pt"))
    parser.add_argument("folder", type=Path, nargs="?", default=Path("langchain_vipllava/bundled"))
    options = parser.parse_args()
    export(options.state, options.folder)


if __name__ == "__main__":
    main()
