"""Loads a ViP-LLaVA checkpoint with transformers, and checks that it is one."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoProcessor, VipLlavaForConditionalGeneration

from langchain_vipllava.engine.dtype_choice import check_fits, choose_dtype
from langchain_vipllava.engine.hub import pin_to_commit
from langchain_vipllava.engine.image_processor import quiet_about_torchvision
from langchain_vipllava.engine.memory_plan import choose_device
from langchain_vipllava.engine.model_sizes import check_projector
from langchain_vipllava.engine.quantization import files_read_not_mapped, misfit, quantization_config, slow_kernels
from langchain_vipllava.engine.vision_layers import leave_out_unused_layers
from langchain_vipllava.errors import CheckpointError, shorten
from langchain_vipllava.protocol.load_options import LoadOptions

logger = logging.getLogger(__name__)

_VICUNA_13B = {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
}
"""Text config of the 13B where it differs from the default of transformers, which is the 7B."""

_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
"""Names of files of weights in the format of `torch.save`."""

_ADAPTER = "adapter_config.json"
"""What peft saves beside adapters. transformers loads another model for it where peft is installed, and leaves the
adapters out without a word where it is not."""

FEATURE_LAYERS = (-2, -5, -8, -11, 6)
"""Vision layers that the projector of the published checkpoints reads; the default of transformers."""


def load_checkpoint(options: LoadOptions) -> tuple[Any, Any]:
    """Load model and processor; transformers shows the progress bar.

    Returns:
        `(VipLlavaForConditionalGeneration, LlavaProcessor)`, the model in evaluation mode.

    Raises:
        CheckpointError: not found, not reachable, not a ViP-LLaVA, damaged, or too large for the device.
    """
    device = choose_device(options)
    options = pin(options)
    config = load_config(options)
    arguments: dict[str, Any] = {"config": config, **_hub_arguments(options)}
    arguments["use_safetensors"] = True  # the older format is a pickle: reading it runs what is inside
    if options.attn_implementation is not None:
        arguments["attn_implementation"] = options.attn_implementation
    device_map = options.device_map
    if device_map is not None:
        arguments["device_map"] = device_map if isinstance(device_map, str) else dict(device_map)
    elif options.quantization is not None:
        arguments["device_map"] = {"": device}
    try:
        processor = load_processor(options)  # first: a missing one fails before gigabytes are read
        choice = choose_dtype(config, options, device)
        check_fits(options, device, choice)
        if choice.reason:
            logger.info("%s is loaded in %s: %s", options.model, choice.dtype, choice.reason)
        arguments["dtype"] = "auto" if choice.dtype == "auto" else getattr(torch, choice.dtype)
        packed_here = options.quantization is not None and device.startswith("cpu")
        if options.quantization is not None:
            _check_quantization(options, config, device)
            # "auto", on a GPU: of a checkpoint in float32, 4 bits are multiplied in float16 all the same
            own = "bfloat16" if choice.estimate.dtype == "bfloat16" else "float16"
            arithmetic: torch.dtype = getattr(torch, own if choice.dtype == "auto" else choice.dtype)
            arguments["quantization_config"] = quantization_config(options.quantization, arithmetic)
        with files_read_not_mapped() if packed_here else nullcontext():
            model, report = VipLlavaForConditionalGeneration.from_pretrained(
                options.source, output_loading_info=True, **arguments
            )
        _check_complete(report, options)
        leave_out_unused_layers(model)
        if "device_map" not in arguments:
            model = model.to(device)
    except CheckpointError:
        raise
    except torch.OutOfMemoryError as error:
        raise CheckpointError(
            f"{options.model!r} does not fit on {device}: {error} Use quantization='8bit' or '4bit', or "
            "device_map='auto' over several GPUs; `langchain-vipllava doctor` shows what fits."
        ) from error
    except MemoryError as error:
        raise CheckpointError(
            f"{options.model!r} does not fit into the memory of this machine; use a smaller checkpoint, "
            "quantization='8bit', or dtype='float16'. `langchain-vipllava doctor` shows what fits."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"cannot load {options.model!r}: {type(error).__name__}: {_first_line(error)} {_advice(options, error)}"
        ) from error
    return check_model(model, processor), processor


def pin(options: LoadOptions) -> LoadOptions:
    """Replace the revision by the commit that it names now: so all files are of one, if the branch moves meanwhile.

    A folder has none, and is returned as it is.

    Raises:
        CheckpointError: not found, or not reachable.
    """
    return options if os.path.isdir(options.source) else pin_to_commit(options)


def load_config(options: LoadOptions) -> Any:
    """Load a checkpoint's config, with the vision layers that its projector was trained on.

    Raises:
        CheckpointError: not found, not reachable, or another kind of model.
    """
    folder = Path(options.source)
    is_folder = os.path.isdir(options.source)
    if is_folder and (folder / _ADAPTER).is_file():
        raise CheckpointError(
            f"the folder {options.source!r} holds adapters of peft ({_ADAPTER}), which are not applied to weights that "
            "are loaded here. Expected a whole checkpoint: save one once, with "
            "PeftModel.from_pretrained(base_model, folder).merge_and_unload().save_pretrained(another folder), its "
            "processor beside it. If the weights in the folder are merged already, delete the adapters."
        )
    if is_folder and not (folder / "config.json").is_file():
        raise CheckpointError(f"the folder {options.source!r} has no config.json; expected a saved checkpoint.")
    try:
        raw, _ = transformers.PretrainedConfig.get_config_dict(options.source, **_hub_arguments(options))
    except Exception as error:
        if is_folder:
            raise CheckpointError(f"the config.json in {options.source!r} cannot be read: {error}") from error
        raise _not_found(options, error) from error
    if not isinstance(raw, dict):
        raise CheckpointError(f"the config.json of {options.model!r} holds a {type(raw).__name__}; expected a mapping.")
    if raw.get("model_type") != "vipllava":
        raise CheckpointError(
            f"{options.model!r} is a {raw.get('model_type', 'nameless')!r} model; expected 'vipllava', such as "
            "'llava-hf/vip-llava-7b-hf'."
        )
    try:
        config = AutoConfig.from_pretrained(options.source, **_hub_arguments(options))
    except Exception as error:
        raise CheckpointError(f"the config.json of {options.model!r} cannot be read: {error}") from error
    # transformers 5.23 reads "vision_feature_layer", earlier versions "vision_feature_layers". The published
    # checkpoints have a stale "vision_feature_layer": -2, which does not fit their projector.
    values = [raw.get(key) for key in ("vision_feature_layers", "vision_feature_layer")]
    layers = next((value for value in values if isinstance(value, (list, tuple))), FEATURE_LAYERS)
    names = [name for name in ("vision_feature_layers", "vision_feature_layer") if hasattr(config, name)]
    for name in names:  # transformers 4 keeps both where config.json has the other one
        setattr(config, name, list(layers))
    return config


def published_config(model: str) -> Any | None:
    """Return the config of a published checkpoint without reading it; None for any other checkpoint."""
    published = {"llava-hf/vip-llava-7b-hf": {}, "llava-hf/vip-llava-13b-hf": _VICUNA_13B}
    if model not in published:
        return None
    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096, **published[model]}
    return transformers.VipLlavaConfig(text_config=text, dtype="float16")


def load_processor(options: LoadOptions) -> Any:
    """Load a checkpoint's processor.

    Raises:
        CheckpointError: the processor is missing or damaged.
    """
    try:
        with quiet_about_torchvision():
            return AutoProcessor.from_pretrained(options.source, **_hub_arguments(options))
    except Exception as error:
        raise CheckpointError(f"cannot load the processor of {options.model!r}: {_first_line(error)}") from error


def check_model(model: Any, processor: Any) -> Any:
    """Check that a loaded model is a ViP-LLaVA whose parts fit each other, and return it in evaluation mode.

    In training mode, dropout is on, and bitsandbytes on a CPU unpacks all weights for every token. Of a `PeftModel`,
    the model inside is returned, whose modules hold the adapters.

    Raises:
        CheckpointError: the model or the processor is of another kind, or a part does not fit.
    """
    model = _inside_peft(model)
    config: Any = getattr(model, "config", None)
    if getattr(config, "model_type", None) != "vipllava":
        raise CheckpointError(
            f"{type(model).__name__} is not a ViP-LLaVA; expected a VipLlavaForConditionalGeneration."
        )
    for part in ("tokenizer", "image_processor"):
        if getattr(processor, part, None) is None:
            raise CheckpointError(
                f"{type(processor).__name__} has no {part}; expected the checkpoint's LlavaProcessor."
            )
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise CheckpointError(
            "device_map offloads a part of the model to CPU memory or disk, from where every token would copy it; "
            "expected the whole model on devices. Use quantization='4bit', a smaller checkpoint, or more GPUs."
        )
    projector = next(module for name, module in model.named_modules() if name.endswith("projector_layernorm"))
    check_projector(projector.weight.numel(), config)
    return model.eval()


def _inside_peft(model: Any) -> Any:
    if not hasattr(model, "get_base_model") or not hasattr(model, "active_peft_config"):
        return model
    peft_config = model.active_peft_config
    if getattr(peft_config, "is_prompt_learning", False):  # its tokens are no part of the model inside
        raise CheckpointError(
            f"{type(model).__name__} with {type(peft_config).__name__} puts learned tokens in front of a prompt, which "
            "the engine does not; expected adapters inside the layers, such as LoRA."
        )
    return model.get_base_model()


def _check_quantization(options: LoadOptions, config: Any, device: str) -> None:
    """Raise for layers that cannot be quantized, and warn where bitsandbytes is slow."""
    assert options.quantization is not None  # noqa: S101  # or it is not called
    if needs := misfit(config, options.quantization, device):
        raise CheckpointError(
            f"{shorten(options.model)} with quantization={options.quantization!r} on a CPU; expected {needs}. Use "
            "quantization='8bit', or leave it out."
        )
    if device.startswith("cpu") and (lacks := slow_kernels(options.quantization)):
        logger.warning(
            "this CPU lacks %s, without which bitsandbytes is slow in %s: `langchain-vipllava doctor` measures it",
            lacks,
            options.quantization,
        )


def _check_complete(report: dict[str, Any], options: LoadOptions) -> None:
    """Raise for missing weights: transformers only logs them, and uses random ones."""
    missing = sorted(report.get("missing_keys") or ())
    if missing:
        raise CheckpointError(
            f"{options.model!r} lacks {len(missing)} of its weights, such as {missing[0]!r}; expected a complete "
            "checkpoint. Download or save it again."
        )


def _not_found(options: LoadOptions, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"cannot find the checkpoint {options.model!r}: {_first_line(error)} Expected a folder or a hub id such as "
        "'llava-hf/vip-llava-7b-hf'. Without network, download it first, or use model='bundled'. If the hub is away, "
        "the next call tries again; local_files_only=True does not ask it."
    )


def _hub_arguments(options: LoadOptions) -> dict[str, Any]:
    return {
        "revision": options.revision or "main",
        "local_files_only": options.local_files_only,
        # never the code of a checkpoint; unsaid, transformers asks for it on the terminal
        "trust_remote_code": False,
    }


def _advice(options: LoadOptions, error: BaseException) -> str:
    """What to do about weights that cannot be loaded."""
    folder = Path(options.source)
    pickles = sorted(path.name for pattern in _PICKLES for path in folder.glob(pattern)) if folder.is_dir() else []
    if pickles and not any(folder.glob("*.safetensors")):
        return (
            f"Its weights are pickles ({', '.join(pickles[:3])}), which can run code when they are read. Expected "
            "safetensors: if you trust them, convert them once, with VipLlavaForConditionalGeneration.from_pretrained("
            "folder, use_safetensors=False).save_pretrained(folder)."
        )
    if "safetensors" in str(error).lower():
        return "Expected complete *.safetensors files; weights as pickles (*.bin) are not read. Download it again."
    return "Download or save it again."


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
