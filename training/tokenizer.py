"""The tokenizer: built like Vicuna's (BPE, byte fallback, `▁` for a space), with a small vocabulary."""

from __future__ import annotations

import json
from itertools import product

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from langchain_vipllava.markers.kinds import marker_phrase
from training.kinds import COLOR_NAMES, KINDS
from training.model import TEXT_CONTEXT
from training.questions import NUMBERS
from training.scene import PAINT_NAMES, SHAPES
from training.wordings import ENGLISH, LEADS, TAILS, WORDINGS

PAD, BOS, EOS, IMAGE = "<pad>", "<s>", "</s>", "<image>"
_VOCABULARY_SIZE = 1100
# No token spans two words or signs, so a conversation's ids are the joined ids of its parts
_WORDS = Regex(r"▁*\p{L}+|▁*\p{N}|▁*[^\s\p{L}\p{N}▁]|▁+|\s")


def corpus() -> list[str]:
    """Return the training text: all questions and answers, and common English words."""
    phrases = [marker_phrase(kind, color) for kind, color in product(KINDS, COLOR_NAMES)]
    lines = [word.format(phrases[0], phrases[1]) for words in WORDINGS.values() for word in words] * 4
    names = [f"an {c} {s}" if c == "orange" else f"a {c} {s}" for c, s in product(PAINT_NAMES, SHAPES)]
    answers = [*names, *(f"A{name[1:]}." for name in names), *(f"A {shape}." for shape in SHAPES)]
    answers += [f"{word}." for word in (*NUMBERS, *(c.capitalize() for c in PAINT_NAMES), "Yes", "No")]
    turns = [text for line in lines for text in (f" USER: {line}ASSISTANT: Yes.", f"USER: {line}", line)]
    common = [word for word in ENGLISH.split() for _ in range(2)]
    return [
        *turns,
        *phrases * 4,
        *answers * 4,
        *LEADS * 4,
        *TAILS * 4,
        *(f" {w}" for w in common),
        *(f" {w.capitalize()}" for w in common),
    ]


def build_tokenizer() -> PreTrainedTokenizerFast:
    """Train the tokenizer. The result is deterministic."""
    trained = Tokenizer(BPE())
    trained.normalizer = normalizers.Replace(" ", "▁")
    trained.pre_tokenizer = pre_tokenizers.Split(_WORDS, "isolated")
    letters = [chr(code) for code in range(33, 127)]
    byte_tokens = [f"<0x{value:02X}>" for value in range(256)]
    special = [PAD, BOS, EOS, IMAGE]
    trainer = BpeTrainer(
        vocab_size=_VOCABULARY_SIZE - len(byte_tokens),
        initial_alphabet=["▁", *letters],
        special_tokens=special,
        show_progress=False,
    )
    trained.train_from_iterator(corpus(), trainer)
    return _add_byte_tokens(trained.to_str(), special, byte_tokens)


def _add_byte_tokens(trained: str, special: list[str], byte_tokens: list[str]) -> PreTrainedTokenizerFast:
    """Insert the 256 byte tokens after the special tokens, as in Vicuna's vocabulary."""
    model = json.loads(trained)["model"]
    learned = [piece for piece in sorted(model["vocab"], key=model["vocab"].get) if piece not in special]
    vocab = {piece: index for index, piece in enumerate([*special, *byte_tokens, *learned])}
    merges = [tuple(pair) for pair in model["merges"]]
    final = Tokenizer(BPE(vocab, merges, byte_fallback=True, fuse_unk=True))
    final.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    final.pre_tokenizer = pre_tokenizers.Split(_WORDS, "isolated")
    final.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    final.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS} $B", special_tokens=[(BOS, vocab[BOS])]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=final,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        padding_side="left",
        model_max_length=TEXT_CONTEXT,
        clean_up_tokenization_spaces=False,
        extra_special_tokens={"image_token": IMAGE},
    )
