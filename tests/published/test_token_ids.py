"""Token ids of the published checkpoints, with their own vocabulary: equal to those of the training.

`make test-7b`, which needs npm; see `tests/support/llama_vocabulary.py`.
"""

from __future__ import annotations

import json
import random
import shutil

import pytest
import tokenizers
import transformers
from langchain_core.messages import AIMessage, HumanMessage
from PIL import Image

from langchain_vipllava import CheckpointError, PromptError
from langchain_vipllava.chat.messages import TOKEN_IDS, read_messages
from langchain_vipllava.engine.encoding import PromptEncoder
from langchain_vipllava.engine.loading import published_config
from langchain_vipllava.engine.tokenizer import check_tokenizer
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from tests.support.checkpoints import make_processor
from tests.support.engine import open_image
from tests.support.llama_vocabulary import fetch_pieces, write_tokenizer
from tests.support.sentencepiece_bpe import SentencePieceBPE

pytestmark = pytest.mark.npm

CONVERSATIONS = 540
PICTURE = open_image(Image.new("RGB", (4, 4)))
QUESTIONS = [
    "What is the object within the red rectangle?",
    "Is the person pointed to by the lime arrow left of the object within the blue mask contour?",
    "Read the text.\n\nThen answer:\t1 + 1 = ?",
    "  leading and trailing  ",
    "¿Qué es esto? Was ist das? 这是什么 これは何ですか。 что это?",
    "emoji 🙂👩‍👩‍👧 and \u2581 signs \u2581\u2581, zero width \u200b, e\u0301",
    "def f(x):\n    return {'a': [x, 1e-9]}  # 100%",
    "What does </s> mean, or <image>, <pad>, <s> and <unk>?",
    "</s>",
    "<image>",
    "</s>USER: I am next. ASSISTANT: no",
    "\n",
    "\x00\x01\ufffd",
    "Answer the question using a single word or phrase.",
    "USER: ASSISTANT: ###Human: ###Assistant:",
    "                many                spaces",
    "a",
    "'s",
]
ANSWERS = [
    "A white square.",
    "Yes",
    "No.",
    "",
    " Yes ",
    '{"color":"red"}',
    "</s>",
    "1\n2\n3",
    "是的。",
    "<image>",
    "🙂",
]


@pytest.fixture(scope="module")
def pieces():
    return fetch_pieces()


@pytest.fixture(scope="module")
def folder(pieces, tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("tokenizer"), pieces)


def encoder_of(tokenizer):
    processor = make_processor()
    processor.tokenizer = tokenizer
    return PromptEncoder(processor, published_config("llava-hf/vip-llava-7b-hf"))


@pytest.fixture(scope="module")
def encoder(folder):
    return encoder_of(transformers.AutoTokenizer.from_pretrained(folder))


def conversations():
    """Yield prompts of one to four turns in every format; the texts are those above, alone and joined."""
    rng = random.Random(19)
    names = list(FORMATS)
    made = 0
    while made < CONVERSATIONS:
        turns = []
        count = rng.randrange(1, 5)
        for index in range(count):
            question = " ".join(rng.choice(QUESTIONS) for _ in range(rng.randrange(1, 4)))
            image = (PICTURE,) if rng.random() < (0.8 if index == 0 else 0.1) else ()
            turns.append(Turn(question, image, rng.choice(ANSWERS) if index < count - 1 else None))
        system = rng.choice([None, None, "", "Be brief. ", "</s>Look."])
        try:
            prompt = FORMATS[names[made % len(names)]].render(Conversation(tuple(turns), system))
        except PromptError:  # nothing but spaces in a question
            continue
        made += 1
        yield prompt


def expected_ids(pieces, prompt, image_tokens):
    segments = [(segment.kind, segment.text) for segment in prompt.segments]
    return SentencePieceBPE(pieces).encode_prompt(segments, image_tokens)


def test_540_conversations_have_the_ids_of_training(pieces, encoder):
    equal = [list(encoder.encode_text(prompt)) == expected_ids(pieces, prompt, 576) for prompt in conversations()]
    assert len(equal) == CONVERSATIONS
    assert sum(equal) == CONVERSATIONS


def test_known_ids(pieces, encoder):
    """Ids that are published: `llama-tokenizer-js` tests itself with the first, transformers' Llama with the second."""
    assert (
        encoder.token_ids("grabbed")[:2] == SentencePieceBPE(pieces).encode("grabbed", prefix=True)[:2] == [2646, 1327]
    )
    assert encoder.token_ids("Hello") == [15043]
    prompt = FORMATS["llava_v1"].render(Conversation((Turn("Q", (PICTURE,), "A"), Turn("Q2"))))
    ids = [token for token in encoder.encode_text(prompt) if token != 32_000]
    assert ids[:4] == [1, 319, 13563, 1546]  # <s> A chat between
    assert ids[ids.index(29_901) + 1 :][:3] == [29_871, 29_871, 13]  # a space, then behind the image the line break
    assert ids[ids.index(2) + 1] == 11_889  # "USER" without a space


def tokenizers_of(folder, tmp_path):
    """Ways in which people load this tokenizer, some without its configuration."""
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(folder / "tokenizer.json", bare)
    legacy = shutil.copytree(folder, tmp_path / "legacy")
    config = json.loads((legacy / "tokenizer_config.json").read_text())
    (legacy / "tokenizer_config.json").write_text(json.dumps({**config, "legacy": True}))
    yield transformers.AutoTokenizer.from_pretrained(legacy)
    yield transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    yield transformers.LlamaTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    yield transformers.LlamaTokenizerFast.from_pretrained(bare)
    yield transformers.PreTrainedTokenizerFast.from_pretrained(bare)


def test_a_tokenizer_that_was_loaded_otherwise_has_the_same_ids(pieces, folder, tmp_path):
    prompts = list(conversations())[:60]
    for tokenizer in tokenizers_of(folder, tmp_path):
        encoder = encoder_of(tokenizer)
        wrong = [p.text for p in prompts if list(encoder.encode_text(p)) != expected_ids(pieces, p, 576)]
        assert not wrong, (type(tokenizer), wrong[0])


def test_a_tokenizer_without_what_begins_a_prompt_is_refused(folder):
    def changed(change):
        tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(folder)
        description = json.loads(tokenizer.backend_tokenizer.to_str())
        change(description)
        return transformers.PreTrainedTokenizerFast(
            tokenizer_object=tokenizers.Tokenizer.from_str(json.dumps(description)), bos_token="<s>", eos_token="</s>"
        )

    check_tokenizer(changed(lambda description: None))
    with pytest.raises(CheckpointError, match="no space in front of a text"):
        encoder_of(changed(lambda description: description["normalizer"]["normalizers"].pop(0)))
    with pytest.raises(CheckpointError, match="no <s> in front of a prompt"):
        encoder_of(changed(lambda description: description.update(post_processor=None)))


@pytest.mark.parametrize("ids", [[3869, 2], [3869, 32_001], [2], [32_000], [3869, 32_063], [3869, 1], [3869, 0]])
@pytest.mark.parametrize("text", ["Yes", "Yes</s>", "Yes<pad>", "</s>", "<image>"])
def test_token_ids_with_special_tokens_are_not_taken(encoder, ids, text):
    answer = AIMessage(text, response_metadata={TOKEN_IDS: ids})
    for prompt_format in FORMATS.values():
        prompts = [
            prompt_format.render(read_messages([HumanMessage("Is it?"), said, HumanMessage("Why?")], open_image))
            for said in (answer, AIMessage(text))
        ]
        taken, plain = map(encoder.encode_text, prompts)
        assert taken == plain


def test_own_ids_are_continued(encoder):
    """The text alone would have other ids: "Yes" and "." are one piece each, here they are letters."""
    ids = [encoder.tokenizer.convert_tokens_to_ids(letter) for letter in ("▁", "Y", "e", "s")]
    answer = AIMessage("Yes", response_metadata={TOKEN_IDS: ids})
    read = read_messages([HumanMessage("Is it?"), answer, HumanMessage("Why?")], open_image)
    encoded = list(encoder.encode_text(FORMATS["llava_v1"].render(read)))
    place = encoded.index(2)
    assert encoded[place - 4 : place] == ids
