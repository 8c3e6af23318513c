"""Tokenizers that were loaded otherwise than with their own configuration: noticed, or without consequence."""

from __future__ import annotations

import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from langchain_vipllava import ChatVipLlava, CheckpointError
from langchain_vipllava.engine.tokenizer import check_tokenizer
from tests.support.checkpoints import make_model, make_processor, make_tokenizer

NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def tokenizer_with(change=lambda description: None, **settings):
    description = json.loads(make_tokenizer().backend_tokenizer.to_str())
    change(description)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(description)), **settings)


def without_beginning(description):
    description["post_processor"] = None


def begun_twice(description):
    single = description["post_processor"]["single"]
    description["post_processor"]["single"] = [single[0], *single]


def ended(description):
    single = description["post_processor"]["single"]
    description["post_processor"]["single"] = [*single, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    description["post_processor"]["special_tokens"]["</s>"] = {"id": "</s>", "ids": [2], "tokens": ["</s>"]}


@pytest.mark.parametrize("names", [NAMES, {}], ids=["with names", "without names"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_beginning, "no <s> in front of a prompt"),
        (begun_twice, "puts <s><s> in front of a prompt; expected one <s>"),
        (ended, "</s> behind a prompt"),
    ],
)
def test_one_token_begins_a_prompt(change, words, names):
    check_tokenizer(tokenizer_with(**names))
    with pytest.raises(CheckpointError, match=words):
        check_tokenizer(tokenizer_with(change, **names))


class SlowTokenizer:
    """Stands for one that tokenizes in Python: it has no `backend_tokenizer`."""

    def __init__(self, tokenizer):
        self._tokenizer = tokenizer

    def __getattr__(self, name):
        if name == "backend_tokenizer":
            raise AttributeError(name)
        return getattr(self._tokenizer, name)

    def __call__(self, *args, **kwargs):
        return self._tokenizer(*args, **kwargs)


def test_a_tokenizer_in_python_is_refused_with_the_way_out():
    with pytest.raises(CheckpointError, match=r"tokenizes in Python; expected a fast tokenizer.*use_fast=False"):
        check_tokenizer(SlowTokenizer(make_tokenizer()))


def test_an_answer_keeps_its_spaces_whatever_the_tokenizer_cleans_up():
    """transformers 4 asks `clean_up_tokenization_spaces` alone; each token is decoded with the ones before."""
    tidy = {
        "clean_up_tokenization_spaces": True,
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
    }
    spoken = "Is it n't red , blue ? It is ."
    answers = []
    for settings in ({}, tidy):
        processor = make_processor()
        processor.tokenizer = tokenizer_with(**NAMES, pad_token="<pad>", padding_side="left", **settings)
        llm = ChatVipLlava.from_model(make_model(processor), processor)
        ids = llm.backend.runner.encoder.token_ids(spoken)
        if settings:
            assert processor.tokenizer.decode(ids) != spoken
        answers.append(llm.with_structured_output({"enum": [spoken]}).invoke("Say it."))
    assert answers == [spoken, spoken]


def test_an_image_token_that_is_a_word_is_refused():
    """The tokens of an image are found by this id: text would be taken for images."""
    processor = make_processor()
    model = make_model(processor)
    model.config.image_token_index = model.config.image_token_id = processor.tokenizer.convert_tokens_to_ids("USER")
    with pytest.raises(CheckpointError, match=r"is 'USER' for the tokenizer.*expected the id of <image>, 4:"):
        ChatVipLlava.from_model(model, processor)
