"""`ask_vote`: regions marked in several looks, one question about each, and the answer that most of them have."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field

import numpy as np
import pytest

from langchain_vipllava import GenerationError, ImageStore, MarkerError, Region, SessionError, Workspace, mark
from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.markers.kinds import KINDS
from langchain_vipllava.workspace.vision_model import ModelReply

SQUARE, DISK = [59, 378, 164, 483], [206, 30, 426, 250]


@dataclass
class KindModel:
    """A fake vision model that answers by the kind of marker in the question: votes whose outcome is known."""

    by_kind: dict
    confidences: dict = field(default_factory=dict)
    conversations: list = field(default_factory=list)

    def answer(self, conversation):
        self.conversations.append(conversation)
        question = conversation.turns[-1].question
        # the longest first: "mask contour" holds "mask"; whole words: "pointed to" holds "point"
        by_length = sorted(KINDS, key=len, reverse=True)
        kind = next((kind for kind in by_length if re.search(rf"\b{kind}\b", question)), None)
        answer = self.by_kind.get(kind, "Unknown.")
        if isinstance(answer, Exception):
            raise answer
        return ModelReply(answer, (len(self.conversations),))

    async def aanswer(self, conversation):
        await asyncio.sleep(0)
        return self.answer(conversation)


class RatingKindModel(KindModel):
    """The same, with a confidence for each answer."""

    def answer_rated(self, conversation):
        reply = self.answer(conversation)
        return ModelReply(reply.text, reply.token_ids, self.confidences.get(reply.text))

    async def aanswer_rated(self, conversation):
        return self.answer_rated(conversation)


def marked_photo(photo, model, *boxes, **look):
    workspace = Workspace(model=model)
    image_id = workspace.add_image(photo, session="a")
    return workspace, workspace.mark(image_id, boxes or [[174, 65, 273, 164]], session="a", **look).image_id


def test_most_votes_win(photo):
    model = KindModel({"rectangle": "A face.", "ellipse": "a face", "arrow": "A rocket.", "point": " A  FACE!"})
    workspace, image_id = marked_photo(photo, model)
    kinds = ["arrow", "rectangle", "ellipse", "point"]
    voted = workspace.ask_vote(image_id, "What is the object r1?", session="a", kinds=kinds)
    assert (voted.answer, voted.agreement, voted.confidence) == ("A face.", 0.75, None)
    assert [vote.answer for vote in voted.votes] == ["A rocket.", "A face.", "a face", " A  FACE!"]
    assert [vote.phrases for vote in voted.votes] == [
        ("pointed to by the red arrow",),
        ("within the red rectangle",),
        ("within the red ellipse",),
        ("at the red point",),
    ]
    assert [vote.question for vote in voted.votes] == [
        f"What is the object {p}?" for v in voted.votes for p in v.phrases
    ]
    assert voted.question == "What is the object within the red rectangle?"


def test_each_question_comes_with_the_image_marked_in_its_words(photo):
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model, [174, 65, 273, 164], [330, 20, 480, 250])
    workspace.ask_vote(image_id, "Is r2 left of r1?", session="a", kinds=["mask", "point"], colors=["gold", "blue"])
    regions = [Region(box=(174, 65, 273, 164)), Region(box=(330, 20, 480, 250))]
    looks = [(kind, colors) for kind in ("mask", "point") for colors in (["gold", "blue"], ["blue", "gold"])]
    for conversation, (kind, colors) in zip(model.conversations, looks, strict=True):
        expected = mark(photo, regions, kind=kind, color=colors)
        assert np.array_equal(conversation.images[0].decode(), expected.image)
        assert conversation.turns[0].question == expected.question("Is the object {1} left of the object {0}?")


def test_answers_that_name_their_own_markers_are_compared_in_the_words_of_the_image(photo):
    model = KindModel(
        {"arrow": "The one pointed to by the lime arrow.", "point": "The one at the lime point.", "mask": "No."}
    )
    workspace, image_id = marked_photo(photo, model, [1, 2, 90, 99], [330, 20, 480, 250], kind="ellipse")
    voted = workspace.ask_vote(image_id, "Which of r1 and r2?", session="a", kinds=["mask", "arrow", "point"])
    assert (voted.answer, voted.agreement) == ("The one within the lime ellipse.", 2 / 3)
    (turn,) = workspace.conversation(image_id, session="a").turns
    assert (
        turn.question
        == voted.question
        == "Which of the object within the red ellipse and the object within the lime ellipse?"
    )
    assert (turn.answer, turn.answer_ids) == (voted.answer, None)


def test_a_follow_up_shows_each_look_the_conversation_in_its_own_words(photo):
    model = KindModel({"rectangle": "A face.", "arrow": "A face."})
    workspace, image_id = marked_photo(photo, model)
    workspace.ask(image_id, "What is the object r1?", session="a")
    workspace.ask_vote(image_id, "What color is it?", session="a", kinds=["arrow", "rectangle"])
    asked = [[turn.question for turn in conversation.turns] for conversation in model.conversations]
    assert asked == [
        ["What is the object within the red rectangle?"],
        ["What is the object pointed to by the red arrow?", "What color is it?"],
        ["What is the object within the red rectangle?", "What color is it?"],
    ]
    assert [conversation.turns[0].answer_ids for conversation in model.conversations] == [None, None, (1,)]
    turns = workspace.conversation(image_id, session="a").turns
    assert [(turn.question, turn.answer) for turn in turns] == [
        ("What is the object within the red rectangle?", "A face."),
        ("What color is it?", "Unknown."),
    ]


def test_among_equals_the_surest_wins(photo):
    answers = {"rectangle": "A cat.", "ellipse": "A dog.", "point": "A cow."}
    model = RatingKindModel(answers, {"A cat.": 0.2, "A dog.": 0.9, "A cow.": 0.3})
    workspace, image_id = marked_photo(photo, model)
    voted = workspace.ask_vote(image_id, "What is r1?", session="a", kinds=list(answers))
    assert (voted.answer, voted.agreement, voted.confidence) == ("A dog.", 1 / 3, 0.9)
    del model.confidences["A dog."]
    assert workspace.ask_vote(image_id, "What is r1?", session="a", kinds=list(answers)).answer == "A cow."


def test_aask_vote_returns_the_same_as_ask_vote(photo):
    model = RatingKindModel({"rectangle": "A cat.", "ellipse": "A dog."}, {"A cat.": 0.2, "A dog.": 0.9})
    workspace, image_id = marked_photo(photo, model)
    first = workspace.ask_vote(image_id, "What is r1?", session="a")
    asked = len(model.conversations)
    workspace, image_id = marked_photo(photo, model)
    assert asyncio.run(workspace.aask_vote(image_id, "What is r1?", session="a")) == first
    assert len(model.conversations) == 2 * asked


def ask(workspace, call, *arguments, **options):
    result = getattr(workspace, call)(*arguments, **options)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


@pytest.mark.parametrize("call", ["ask_vote", "aask_vote"])
def test_a_failing_model_leaves_the_conversation_as_it_was(photo, call):
    model = KindModel({"rectangle": "A cat.", "arrow": OSError("no device")})
    workspace, image_id = marked_photo(photo, model)
    with pytest.raises(GenerationError, match="no device"):
        ask(workspace, call, image_id, "What is r1?", session="a", kinds=["rectangle", "arrow"])
    assert workspace.conversation(image_id, session="a").turns == ()
    assert workspace.ask(image_id, "What is r1?", session="a").answer == "A cat."  # and nothing is locked


def test_each_page_votes_by_itself(photo):
    model = KindModel({"rectangle": "A cat.", "ellipse": "A cat."})
    cells = [[40 * column, 40 * row, 40 * column + 30, 40 * row + 30] for row in range(3) for column in range(4)]
    workspace, image_id = marked_photo(photo, model, *cells)
    voted = workspace.ask_vote(image_id, "What is r10?", session="a", kinds=["ellipse", "rectangle"])
    assert (voted.answer, voted.page) == ("A cat.", 1)
    page = workspace.look(image_id, session="a", page=1)
    assert {conversation.images[0].size for conversation in model.conversations} == {page.image.size}
    assert len(workspace.conversation(image_id, session="a", page=1).turns) == 1


def test_more_regions_than_colors_share_their_kinds_out(photo):
    model = KindModel({})
    cells = [[40 * column, 40 * row, 40 * column + 30, 40 * row + 30] for row in range(3) for column in range(4)]
    workspace, image_id = marked_photo(photo, model, *cells, kind="auto")
    voted = workspace.ask_vote(image_id, "What is r10?", session="a", kinds=["ellipse", "arrow"])
    assert [len(set(vote.phrases)) for vote in voted.votes] == [12, 12]
    assert sum("ellipse" in phrase for phrase in voted.votes[0].phrases) == 9


@pytest.mark.parametrize(
    ("options", "error_text"),
    [
        ({"kinds": ["rectangle"]}, "too few to vote"),
        ({"kinds": []}, "kinds is empty"),
        ({"kinds": "rectangle"}, "expected a list"),
        ({"kinds": ["box"]}, "unknown marker kind 'box'"),
        ({"colors": ["pink", "red"]}, "unknown marker color 'pink'"),
        ({"colors": ["red", "RED "]}, "too few to vote"),
        ({"kinds": KINDS, "colors": ["red", "blue"]}, "16 looks; expected at most 12"),
        ({"kinds": 5}, "kinds=5"),
    ],
)
def test_wrong_looks_are_refused_before_the_model_is_asked(photo, options, error_text):
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model)
    with pytest.raises(MarkerError, match=re.escape(error_text)):
        workspace.ask_vote(image_id, "What is r1?", session="a", **options)
    assert not model.conversations


def test_an_image_without_markers_cannot_vote(photo):
    workspace, _ = marked_photo(photo, KindModel({}))
    with pytest.raises(MarkerError, match="img1 has no markers to vote with"):
        workspace.ask_vote("img1", "What is it?", session="a")
    with pytest.raises(SessionError, match="no image 'img7'"):
        workspace.ask_vote("img7", "What is it?", session="a")
    bare, marked_id = marked_photo(photo, None)
    with pytest.raises(GenerationError, match="there is no vision model"):
        bare.ask_vote(marked_id, "What is r1?", session="a")


def test_the_words_of_a_marker_name_it_in_every_look(photo):
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model, [174, 65, 273, 164], [330, 20, 480, 250], kind="arrow")
    question = "Pointed to by the lime arrow, what is the object pointed to by the red arrow?"
    voted = workspace.ask_vote(image_id, question, session="a", kinds=["mask", "point", "arrow"])
    assert [vote.question for vote in voted.votes] == [
        "With the lime mask, what is the object with the red mask?",
        "At the lime point, what is the object at the red point?",
        question,
    ]


def test_words_of_no_marker_of_the_image_are_refused(photo):
    """In another look they may be those of a marker: the votes would be about different regions."""
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model, [174, 65, 273, 164], [330, 20, 480, 250], kind="arrow")
    with pytest.raises(MarkerError, match="names 'Within the red rectangle', which no marker of marked1 is"):
        workspace.ask_vote(image_id, "What is the object Within the red rectangle?", session="a")
    assert not model.conversations


@pytest.mark.parametrize("question", ["What is the lime arrow?", "Is r1 left of the Lime  arrow?"])
def test_a_marker_that_is_named_as_a_thing_is_refused(photo, question):
    """Other looks have no such marker, or another region has it: the votes would be about something else."""
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model, [174, 65, 273, 164], [330, 20, 480, 250], kind="arrow")
    with pytest.raises(MarkerError, match=r"names 'the [Ll]ime  ?arrow', .* r2, or .*pointed to by the lime arrow"):
        workspace.ask_vote(image_id, question, session="a", colors=["red", "lime"])
    assert not model.conversations
    for fine in ("Is r1 a red arrow?", "Is r1 left of the lime circle?", "What is r2?"):
        workspace.ask_vote(image_id, fine, session="a", colors=["red", "lime"])


def test_the_sign_of_a_number_is_part_of_the_answer(photo):
    workspace, image_id = marked_photo(photo, KindModel({"rectangle": "-5", "ellipse": "5", "arrow": "(-5)."}))
    voted = workspace.ask_vote(image_id, "What is r1?", session="a", kinds=["ellipse", "rectangle", "arrow"])
    assert (voted.answer, round(voted.agreement, 2)) == ("-5", 0.67)


def test_text_and_json_say_how_many_agree(photo):
    model = RatingKindModel(
        {"rectangle": "A cat.", "ellipse": "a cat", "point": "A dog."}, {"A cat.": 0.5, "a cat": 0.7}
    )
    workspace, image_id = marked_photo(photo, model)
    voted = workspace.ask_vote(image_id, "What is r1?", session="a", kinds=["rectangle", "ellipse", "point"])
    assert voted.text == (
        'The vision model answered: "a cat"\nThe regions were marked in 3 ways; 2 agree; others: "A dog." (1).'
    )
    written = voted.to_dict()
    assert (written["answer"], written["agreement"], written["confidence"]) == ("a cat", 0.6667, 0.6)
    assert [vote.get("confidence") for vote in written["votes"]] == [0.5, 0.7, None]


def test_the_bundled_checkpoint_votes_with_confidence():
    workspace = Workspace(model=BackendVision(LocalBackend.load(model="bundled")))
    image_id = workspace.add_image(SCENE, session="a")
    marked = workspace.mark(image_id, [SQUARE, DISK], session="a")
    voted = workspace.ask_vote(marked.image_id, "What is the object r2?", session="a")
    assert (voted.answer, voted.agreement) == ("A blue circle.", 1.0)
    assert voted.confidence > 0.5
    assert len(voted.votes) == 4
    follow_up = workspace.ask_vote(marked.image_id, "What color is it?", session="a", colors=["red", "yellow", "aqua"])
    assert (follow_up.answer, len(follow_up.votes)) == ("Blue.", 3)


def test_the_crop_of_a_zoom_stays(photo):
    model = KindModel({})
    workspace, image_id = marked_photo(photo, model, [100, 100, 112, 112], zoom="auto")
    crop = workspace.look(image_id, session="a").crop
    assert crop is not None
    workspace.ask_vote(image_id, "What is r1?", session="a", kinds=["ellipse", "point"])
    own = np.asarray(photo.crop(crop)).astype(int)
    for conversation in model.conversations:
        shown = np.asarray(conversation.images[0].decode()).astype(int)
        assert shown.shape == own.shape
        assert 0 < (shown != own).any(axis=2).mean() < 0.3  # but for the marker


def test_a_stored_session_votes_after_a_restart(photo):
    store = ImageStore()
    model = KindModel({"mask": "A face.", "arrow": "A face."})
    workspace = Workspace(model=model, store=store)
    image_id = workspace.add_image(photo, session="a")
    marked_id = workspace.mark(image_id, [[174, 65, 273, 164]], session="a").image_id
    first = workspace.ask_vote(marked_id, "What is r1?", session="a", kinds=["mask", "arrow"])
    again = Workspace(model=model, store=store)
    (turn,) = again.conversation(marked_id, session="a").turns
    assert (turn.question, turn.answer) == (first.question, "A face.")
    again.ask_vote(marked_id, "What color is it?", session="a", kinds=["mask", "arrow"])
    asked = [turn.question for turn in model.conversations[-1].turns]
    assert asked == ["What is the object pointed to by the red arrow?", "What color is it?"]


def test_a_full_conversation_forgets_its_oldest_questions(photo):
    model = KindModel({"mask": "A face."})
    workspace = Workspace(model=model, max_turns=3)
    image_id = workspace.add_image(photo, session="a")
    marked_id = workspace.mark(image_id, [[174, 65, 273, 164]], session="a").image_id
    forgotten = [
        workspace.ask_vote(
            marked_id, f"What is r1, for the {n}th time?", session="a", kinds=["mask", "arrow"]
        ).forgotten
        for n in range(5)
    ]
    assert forgotten == [0, 0, 0, 2, 0]
    assert len(workspace.conversation(marked_id, session="a").turns) == 3
    assert all(conversation.turns[0].images for conversation in model.conversations)


def test_cancelling_a_vote_leaves_the_conversation_as_it_was(photo):
    class Waiting(KindModel):
        async def aanswer(self, conversation):
            self.conversations.append(conversation)
            await asyncio.Event().wait()

    async def cancel():
        task = asyncio.create_task(workspace.aask_vote(image_id, "What is r1?", session="a", kinds=["mask", "arrow"]))
        while len(model.conversations) < 2:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    model = Waiting({})
    workspace, image_id = marked_photo(photo, model)
    asyncio.run(cancel())
    assert workspace.conversation(image_id, session="a").turns == ()
    assert workspace.ask(image_id, "What is r1?", session="a").answer == "Unknown."
