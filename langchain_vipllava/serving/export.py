"""`export_checkpoint`: a ViP-LLaVA as a folder that vLLM serves rightly, whatever transformers version it has."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from langchain_vipllava.engine.image_processor import pillow_processor
from langchain_vipllava.engine.loading import load_config, load_processor, pin
from langchain_vipllava.engine.model_sizes import check_projector, feature_layers, image_tokens
from langchain_vipllava.engine.tokenizer import begin_ids, check_tokenizer
from langchain_vipllava.errors import CheckpointError, describe_error
from langchain_vipllava.prompt.formats import IMAGE_TOKEN, PromptFormatName, check_format
from langchain_vipllava.protocol.load_options import TRAINED_FORMATS, LoadOptions
from langchain_vipllava.serving.chat_template import write_chat_template
from langchain_vipllava.serving.checkpoint_files import CheckpointFiles
from langchain_vipllava.serving.export_check import check_export
from langchain_vipllava.serving.served_tokenizer import served_tokenizer

WeightsMode = Literal["link", "copy"]

_IMAGE_SETTINGS = (
    "do_convert_rgb", "do_resize", "size", "resample", "do_center_crop", "crop_size", "do_rescale", "rescale_factor",
    "do_normalize", "image_mean", "image_std",
)  # fmt: skip


@dataclass(frozen=True)
class Export:
    """What an export wrote.

    Attributes:
        folder: the folder.
        prompt_format: the format of requests that name none.
        weights: how the files of the weights came there: "linked" or "copied".
        checks: what was checked, in words.
    """

    folder: Path
    prompt_format: PromptFormatName
    weights: str
    checks: tuple[str, ...]


def export_checkpoint(
    options: LoadOptions,
    folder: Path,
    *,
    prompt_format: PromptFormatName | None = None,
    weights: WeightsMode = "link",
) -> Export:
    """Write a folder that vLLM serves, and check it by loading it again.

    Args:
        options: which checkpoint.
        folder: a new one, or an empty one. It appears when everything in it is written and checked.
        prompt_format: what requests get that name none; None for the one of the training, where it is known.
        weights: "link" shares the files with the checkpoint where the file system can, and copies them where it cannot;
            "copy" copies them.

    Raises:
        CheckpointError: the checkpoint cannot be read, the folder not be written, or a check failed.
        PromptError: an unknown prompt format.
    """
    name = check_format(prompt_format or TRAINED_FORMATS.get(options.model, "user_assistant"))
    _check_free(folder)
    options = pin(options)
    config, processor = load_config(options), load_processor(options)
    check_tokenizer(processor.tokenizer)
    files = CheckpointFiles.find(options)
    _check_projector(files, config)
    partial = folder.with_name(f".{folder.name}.partial-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        linked = _put_weights(files, partial, weights)
        _write_settings(partial, files, config, processor, name)
        checks = check_export(partial, config, processor)
        os.replace(partial, folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {str(folder)!r}: {describe_error(error)}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Export(folder, name, "linked" if linked else "copied", checks)


def _check_free(folder: Path) -> None:
    if folder.is_dir() and any(folder.iterdir()):
        raise CheckpointError(f"the folder {str(folder)!r} is not empty; expected a new one.")
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{str(folder)!r} is a file; expected a new folder.")


def _check_projector(files: CheckpointFiles, config: Any) -> None:
    """Check that the weights read as many vision features as the config selects: nothing else notices before serving.

    Raises:
        CheckpointError: they do not.
    """
    shapes = [shape for name, shape in files.shapes.items() if name.endswith("projector_layernorm.weight")]
    check_projector(shapes[0][0] if len(shapes) == 1 and len(shapes[0]) == 1 else "none", config)


def _put_weights(files: CheckpointFiles, folder: Path, mode: WeightsMode) -> bool:
    """Link or copy the weights; return whether all are linked."""
    linked = mode == "link"
    for name in files.weights:
        source = (files.folder / name).resolve()  # the hub's cache has symbolic links, which a container cannot follow
        if linked:
            try:
                os.link(source, folder / name)
                continue
            except OSError:  # another file system, or one without links
                linked = False
        free = shutil.disk_usage(folder).free
        if free < source.stat().st_size:
            raise CheckpointError(
                f"copying {name} takes {source.stat().st_size / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; "
                "choose a folder on the file system of the checkpoint, where it is linked, or a larger one."
            )
        shutil.copyfile(source, folder / name)
    return linked


def _write_settings(
    folder: Path, files: CheckpointFiles, config: Any, processor: Any, prompt_format: PromptFormatName
) -> None:
    tokenizer = processor.tokenizer
    image = _image_settings(processor)
    template = write_chat_template(prompt_format, _begin(tokenizer), list(tokenizer.get_added_vocab()))
    documents: dict[str, Callable[[], dict[str, Any]]] = {
        "config.json": lambda: _config(files.read_json("config.json"), config),
        "generation_config.json": lambda: _generation_settings(files.read_json("generation_config.json"), config),
        "tokenizer.json": lambda: served_tokenizer(tokenizer),
        "tokenizer_config.json": lambda: _tokenizer_settings(tokenizer, config),
        "processor_config.json": lambda: {**_processor_settings(config), "image_processor": image},
        "preprocessor_config.json": lambda: image,  # transformers 4 reads this one
    }
    for name, make in documents.items():
        text = json.dumps(make(), indent=2, ensure_ascii=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")


def _begin(tokenizer: Any) -> str:
    """Return what the tokenizer puts in front of a prompt, such as `<s>`."""
    return "".join(tokenizer.convert_ids_to_tokens(begin_ids(tokenizer)))


def _config(raw: dict[str, Any], config: Any) -> dict[str, Any]:
    """Complete a checkpoint's own config with what some version of transformers would miss or read otherwise."""
    written = {key: value for key, value in raw.items() if key not in ("auto_map", "transformers_version")}
    written["architectures"] = ["VipLlavaForConditionalGeneration"]
    written["image_seq_length"] = image_tokens(config)
    written["image_token_index"] = int(config.image_token_id)
    # transformers 5.23 reads the singular, earlier versions the plural, and each ignores the other
    written["vision_feature_layer"] = written["vision_feature_layers"] = feature_layers(config)
    parts = [written]
    for name in ("text_config", "vision_config"):
        written[name] = dict(raw.get(name) or {})
        written[name].setdefault("model_type", getattr(config, name).model_type)
        parts.append(written[name])
    for part in parts:  # transformers 5 reads "dtype", 4 "torch_dtype"
        dtype = part.get("dtype") or part.get("torch_dtype")
        if dtype is not None:
            part["dtype"] = part["torch_dtype"] = dtype
    text = written["text_config"]
    rope = text.get("rope_parameters")
    if isinstance(rope, dict) and "rope_theta" in rope:  # transformers 4 reads it outside
        text["rope_theta"] = rope["rope_theta"]
    return written


def _generation_settings(raw: dict[str, Any], config: Any) -> dict[str, Any]:
    """Keep the tokens that begin and end an answer. The engine applies nothing else of it, and vLLM would."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    ids = {name: raw.get(name, getattr(config.text_config, name, None)) for name in names}
    return {name: token for name, token in ids.items() if token is not None}


def _tokenizer_settings(tokenizer: Any, config: Any) -> dict[str, Any]:
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    special = {name: getattr(tokenizer, name) for name in names if getattr(tokenizer, name, None) is not None}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",  # takes tokenizer.json as it is; Llama's own class rebuilds it
        "processor_class": "LlavaProcessor",
        **special,
        "extra_special_tokens": {"image_token": IMAGE_TOKEN},
        "padding_side": "left",
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(config.text_config.max_position_embeddings),
        "model_input_names": ["input_ids", "attention_mask"],
    }


def _processor_settings(config: Any) -> dict[str, Any]:
    return {
        "processor_class": "LlavaProcessor",
        "patch_size": int(config.vision_config.patch_size),
        "vision_feature_select_strategy": "default",  # without the class token, which the next line counts
        "num_additional_image_tokens": 1,
        "image_token": IMAGE_TOKEN,
    }


def _image_settings(processor: Any) -> dict[str, Any]:
    settings = pillow_processor(processor.image_processor).to_dict()
    kept = {name: settings[name] for name in _IMAGE_SETTINGS if settings.get(name) is not None}
    # the CLIP processor of the checkpoints has no padding, and would cut the ends of a wide image off
    return {"image_processor_type": "LlavaImageProcessor", "processor_class": "LlavaProcessor", "do_pad": True, **kept}
