"""Small ViP-LLaVA checkpoints with random weights, in the format of the published ones."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import (
    CLIPVisionConfig,
    LlamaConfig,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    VipLlavaConfig,
    VipLlavaForConditionalGeneration,
)

FEATURE_LAYERS = [-2, -3, -4, -5, 1]
CORPUS = [
    "USER: What is the object within the red rectangle doing to the object pointed to by the lime arrow?ASSISTANT:",
    "A chat between a curious human and an artificial intelligence assistant. "
    "###Human: Describe the image. ###Assistant:",
    "A blue circle, a red star and a black cross. Is it left of the yellow triangle? Yes. No. What color is it?",
]


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Train a BPE tokenizer like Vicuna's: ▁ for spaces, byte fallback, no dummy prefix after special tokens."""
    special = ["<unk>", "<s>", "</s>", "<pad>", "<image>"]
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=[*special, *byte_tokens], show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    trained = json.loads(backend.to_str())
    trained["added_tokens"] = []  # byte tokens are vocabulary, not special tokens
    backend = Tokenizer.from_str(json.dumps(trained))
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    from tokenizers.processors import TemplateProcessing

    backend.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_processor(side: int = 56, patch: int = 14) -> LlavaProcessor:
    from transformers import CLIPImageProcessor

    return LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": side}, crop_size={"height": side, "width": side}, do_center_crop=True
        ),
        tokenizer=make_tokenizer(),
        patch_size=patch,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def make_model(
    processor: LlavaProcessor, *, side: int = 56, patch: int = 14, seed: int = 0, hidden: int = 64
) -> VipLlavaForConditionalGeneration:
    torch.manual_seed(seed)
    tokenizer = processor.tokenizer
    config = VipLlavaConfig(
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=5,
            num_attention_heads=4,
            image_size=side,
            patch_size=patch,
        ).to_dict(),
        text_config=LlamaConfig(
            hidden_size=hidden,
            intermediate_size=2 * hidden,
            num_hidden_layers=2,
            num_attention_heads=4,
            vocab_size=len(tokenizer),
            max_position_embeddings=512,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=3,
        ).to_dict(),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        **{feature_key(): FEATURE_LAYERS},
        image_seq_length=(side // patch) ** 2,
    )
    model = VipLlavaForConditionalGeneration(config).eval()
    with torch.no_grad():  # with the default initialization, every answer repeats one token
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4)
    return model


def feature_key() -> str:
    """Return the name of the config field for the vision layers; it differs between versions of transformers."""
    return "vision_feature_layer" if hasattr(VipLlavaConfig(), "vision_feature_layer") else "vision_feature_layers"


def save_checkpoint(folder: Path, **shape: int) -> Path:
    """Save a small ViP-LLaVA with random weights, as checkpoints on the hub are saved."""
    processor = make_processor(**shape)
    make_model(processor, **shape).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
