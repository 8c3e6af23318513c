"""`llava_v1` beside the code of the training: empty texts, whitespace, answers that a caller brings along."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from PIL import Image

from langchain_vipllava.chat.messages import TOKEN_IDS, read_messages
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from tests.prompt.test_formats import IMAGE, ask, unloaded
from tests.support.engine import open_image
from tests.support.training_prompt import SYSTEM, training_prompt

PICTURE = open_image(Image.new("RGB", (4, 4)))
TEXTS = st.one_of(
    st.sampled_from(["", " ", "\n", " What is it? ", "\u00a0Why?\t", "A star.", "Yes", "<image>", "a\n\nb\n"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
TURNS = st.lists(st.tuples(TEXTS, st.booleans(), st.one_of(st.none(), TEXTS)), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(turns=TURNS, system=st.one_of(st.none(), TEXTS))
def test_llava_v1_is_what_the_code_of_the_training_writes(turns, system):
    turns = [(question, image, answer or "") for question, image, answer in turns[:-1]] + [turns[-1]]
    conversation = Conversation(
        tuple(Turn(question, (PICTURE,) if image else (), answer) for question, image, answer in turns), system
    )
    written = FORMATS["llava_v1"].render(conversation, allow_partial=True, escape_turn_markers=False).text
    assert written == training_prompt(turns, SYSTEM if system is None else system)


def test_an_empty_answer_is_not_closed():
    messages = [ask("Q1", IMAGE), AIMessage(""), HumanMessage("Q2")]
    rendered = unloaded(prompt_format="llava_v1").render_prompt(messages)
    assert rendered == f"{SYSTEM} USER: <image>\nQ1 ASSISTANT:USER: Q2 ASSISTANT:"
    assert unloaded().render_prompt(messages) == "USER: <image>\nQ1ASSISTANT: USER: Q2ASSISTANT:"


def test_only_questions_with_an_image_are_stripped():
    messages = [ask("  Q1 \n", IMAGE), AIMessage(" A1 "), HumanMessage(" Q2 ")]
    rendered = unloaded(prompt_format="llava_v1").render_prompt([SystemMessage(""), *messages])
    assert rendered == " USER: <image>\nQ1 ASSISTANT:  A1 </s>USER:  Q2  ASSISTANT:"
    # the format of the model page has no code of a training to follow: what was typed stands
    assert unloaded().render_prompt(messages) == "USER: <image>\n  Q1 \nASSISTANT:  A1 USER:  Q2 ASSISTANT:"


def test_an_image_of_a_tool_has_no_line_break_behind_it_without_a_text():
    call = {"name": "zoom_in", "args": {}, "id": "1"}
    messages = [HumanMessage("Q1"), AIMessage("", tool_calls=[call]), ToolMessage([IMAGE], tool_call_id="1")]
    rendered = unloaded(prompt_format="llava_v1").render_prompt(messages)
    assert rendered.endswith("</s>USER: <image> ASSISTANT:")
    assert unloaded().render_prompt(messages).endswith("USER: <image>\nASSISTANT:")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("token", ["</s>", "<pad>", "<s>", "<image>", "<unk>"])
@pytest.mark.parametrize("text", ["Yes.", "Yes.{}", "{}"])
def test_token_ids_with_special_tokens_are_not_taken(llm, name, token, text):
    """They come with a message, from anywhere: `</s>` would end a turn, `<image>` would need an image."""
    encoder = llm.backend.runner.encoder
    special = encoder.tokenizer.convert_tokens_to_ids(token)
    text = text.format(token)
    ids = [*encoder.token_ids("Yes."), special] if "Yes." in text else [special]
    brought = [HumanMessage("Is it?"), AIMessage(text, response_metadata={TOKEN_IDS: ids}), HumanMessage("Why?")]
    plain = [HumanMessage("Is it?"), AIMessage(text), HumanMessage("Why?")]
    counts = [llm.get_num_tokens_from_messages(messages) for messages in (brought, plain)]
    assert counts[0] == counts[1]
    prompts = [FORMATS[name].render(read_messages(messages, open_image)) for messages in (brought, plain)]
    ids = [encoder.encode_text(prompt) for prompt in prompts]
    assert ids[0] == ids[1]
    assert ids[0].count(encoder.tokenizer.eos_token_id) == prompts[1].text.count("</s>") - text.count("</s>")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("edited", ["Yes.\n", "Yes. ", " Yes.", "\n\nYes.", "Yes.\u00a0"])
def test_an_answer_that_was_edited_at_its_ends_is_read_as_it_stands(llm, name, edited):
    """The answers of a model have no whitespace around them: who adds some means it."""
    encoder = llm.backend.runner.encoder

    def ids(text, answer_ids):
        turns = (Turn("Is it?", (), text, answer_ids), Turn("Why?"))
        return encoder.encode_text(FORMATS[name].render(Conversation(turns)))

    own = tuple(encoder.tokenizer.convert_tokens_to_ids(["\u2581", "Y", "e", "s", "."]))
    assert own != tuple(encoder.token_ids("Yes."))
    assert ids("Yes.", own) != ids("Yes.", None)  # its own are taken
    assert ids("Yes.", (*own, *encoder.token_ids("\n")[-1:])) != ids("Yes.", None)  # with what was stripped
    assert ids(edited, own) == ids(edited, None)
