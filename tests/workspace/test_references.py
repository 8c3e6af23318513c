"""Regions that a question names, as LLMs write them: what the vision model is asked.

`references.json` has sentences and what they become, written by hand. RED, LIME and BLUE stand for the words of the
markers of r1, r2 (a cup) and r3 (a dog): each sentence is tried with several kinds of markers.
"""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from PIL import Image

from langchain_vipllava import MarkerError, Region, Workspace, mark
from langchain_vipllava.markers.wording import write_question
from langchain_vipllava.workspace.marker_names import MarkerNames
from langchain_vipllava.workspace.references import read_references
from tests.workspace.test_workspace import RecordingModel

SENTENCES = json.loads((Path(__file__).parent / "references.json").read_text())["resolved"]
GROUND = Image.new("RGB", (640, 480), "white")
REGIONS = [
    Region(box=(10, 10, 90, 90), id="r1"),
    Region(box=(200, 10, 290, 90), id="r2", label="cup"),
    Region(box=(400, 10, 490, 90), id="r3", label="dog"),
]
RED, LIME = "within the red rectangle", "within the lime rectangle"


def workspace():
    """A workspace with the three regions as marked1."""
    made = Workspace(model=RecordingModel())
    made.add_image(GROUND, detections=[region.model_copy(update={"id": None}) for region in REGIONS])
    made.mark("photo1", ["r1", "r2", "r3"])
    return made


def test_there_are_sentences_enough():
    assert len({question for question, _ in SENTENCES}) >= 150


@pytest.mark.parametrize("kind", ["rectangle", "arrow", "point", "mask contour"])
@pytest.mark.parametrize(("question", "expected"), SENTENCES, ids=[question for question, _ in SENTENCES])
def test_a_sentence_names_markers_by_their_words(question, expected, kind):
    if "rectangle" in question and kind != "rectangle":
        return
    marked = mark(GROUND, REGIONS, kind=kind, color=["red", "lime", "blue"])
    for name, phrase in zip(("RED", "LIME", "BLUE"), marked.phrases, strict=True):
        expected = expected.replace(name, phrase)
    assert write_question(read_references(question, MarkerNames("marked1", marked.markers))) == expected


def test_the_model_gets_the_words_and_the_answer_says_them():
    made = workspace()
    answered = made.ask("marked1", "Compare r1 with the cup [r2].")
    assert answered.question == f"Compare the object {RED} with the cup {LIME}."
    assert made.conversation("marked1").turns[0].question == answered.question


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ("Is r9 red?", "names r9, which is not marked in marked1; marked are r1, r2, r3"),
        ("Is {r9} red?", "names r9"),
        ("Is [R9] red?", "names r9"),
        ("What is region 7?", "names r7"),
        ("What is #4?", "names r4"),
        ("What is {0}?", "names r0"),
        ("Compare r1-r9.", "names r4"),
        ("Compare regions 2 to 99999999.", "names r99999999"),
        ("Compare regions 1, 2 and 8.", "names r8"),
        ("What is {cat}?", "names 'cat'"),
        ("What is {{cat}}?", "names 'cat'"),
        (f"What is r1 ({LIME})?", 'calls r1 "within the lime rectangle", which is r2'),
        (f"What is the object {LIME} (r1)?", 'calls r1 "within the lime rectangle", which is r2'),
    ],
)
def test_a_region_that_is_not_marked_is_refused_with_advice(question, said):
    made = workspace()
    with pytest.raises(MarkerError, match=r"Name one of these|Write one of them") as caught:
        made.ask("marked1", question)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 400
    assert made.conversation("marked1").turns == ()


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What is the color of the object in the green box?", f"What is the color of the object {LIME}?"),
        ("What is inside the green rectangle?", f"What is {LIME}?"),
        ("What is in the lime-colored box?", f"What is {LIME}?"),
        ("In the green frame, what do you see?", f"{LIME.capitalize()}, what do you see?"),
        ("What is the object marked with a green rectangle?", f"What is the object {LIME}?"),
        ("Is r1 in the green box?", f"Is the object {RED} in the lime rectangle?"),
        ("What is in the green box's corner?", "What is in the lime rectangle's corner?"),
        ("What is in the red and green bounding boxes?", f"What is {RED} and {LIME}?"),
        ("Compare the red and green rectangles.", "Compare the red rectangle and the lime rectangle."),
        ("What is inside the bounding box colored green?", f"What is {LIME}?"),
        ("What is in the rectangle with the green border?", f"What is {LIME}?"),
        ("What is r2 (green)?", f"What is the object {LIME}?"),
        ("Which object is outlined in red?", f"Which object is {RED}?"),
        ("Compare the red box and the green box.", "Compare the red rectangle and the lime rectangle."),
        ("What is r2 (green box)?", f"What is the object {LIME}?"),
        ("Is the thing in the red bounding box a car?", f"Is the thing {RED} a car?"),
        ("Does the bright green outline touch r1?", f"Does the lime rectangle touch the object {RED}?"),
    ],
)
def test_a_marker_is_found_by_other_words_for_its_look(question, expected):
    assert workspace().ask("marked1", question).question == expected


def test_a_circle_is_an_ellipse():
    made = workspace()
    made.mark("photo1", ["r1", "r2"], kind="ellipse", color=["red", "lime"])
    assert made.ask("marked2", "What is circled in red?").question == "What is within the red ellipse?"
    assert made.ask("marked2", "What is in the green circle?").question == "What is within the lime ellipse?"


def test_order_in_words_is_refused_where_ids_have_another():
    made = workspace()
    made.mark("photo1", ["r2", "r3"])
    assert made.ask("marked2", "What is region two?").question == f"What is the object {RED}?"
    with pytest.raises(MarkerError, match=r"may be r2, the marker at that place, or r1\. Write the id"):
        made.ask("marked2", "What is the first region?")
    with pytest.raises(MarkerError, match=r"fifth region.* is not marked"):
        made.ask("marked2", "What is the fifth region?")
    with pytest.raises(MarkerError, match=r"purple bounding box.*r2 \"within the red rectangle\".*by its id"):
        made.ask("marked2", "What is in the purple bounding box?")


UNCHANGED = [
    "Who is holding the red box? Is the parcel green?",
    "What is inside the red circle?",
    'Does the sign say "in the green box" and "region one"?',
    "Is the second box from the left red?",
    f"What is the object {RED}?",
    f"Is the object {RED} left of the object {LIME}?",
    "Is R2D2 or r2d2 in the image?",
    'Does the sign say "R1 route"?',
    "Does the sign say \u201cr1 exit\u201d or 'R2 to Rome'?",
    "What is in the red rectangle?",
    "How many regions are there, 2 or 3?",
    "What is the text in http://example.org/r1.png?",
    "Is it an Audi R8-Spyder, car1, 1r or r1x?",
    'Answer as {"color": "..."}.',
    "Is the jersey number 10? Is it 15.5 px?",
    "Describe the image.",
    "  What do you see?\n",
]


@pytest.mark.parametrize("question", UNCHANGED)
def test_other_words_stay_byte_for_byte(question):
    assert workspace().ask("marked1", question).question == question


def test_numbers_that_are_drawn_name_their_markers():
    marked = mark(GROUND, list(reversed(REGIONS)), kind="auto", numbers=True)
    names = MarkerNames("marked1", marked.markers)
    phrases = {marker.number: marker.phrase for marker in marked.markers}
    for question in ("What is marked 3?", "What is number 3?"):
        assert write_question(read_references(question, names)) == f"What is the object {phrases[3]}?"
    assert write_question(read_references("What is r3?", names)) == f"What is the object {phrases[1]}?"
    many = [Region(box=(8 * i, 5, 8 * i + 6, 11), id=f"r{i + 1}") for i in range(75)]
    numbered = mark(GROUND, many, kind="auto", numbers=True)
    last = write_question(read_references("What is r75?", MarkerNames("marked1", numbered.markers)))
    assert last.endswith("with number 75?")


def test_an_image_without_markers_says_to_mark_first():
    made = Workspace(model=RecordingModel())
    made.add_image(GROUND, detections=[Region(box=(10, 10, 90, 90))])
    with pytest.raises(MarkerError, match=r'Call mark_regions with image_id "photo1" and regions such as \["r1"\]'):
        made.ask("photo1", "What is r1?")
    plain = made.add_image(GROUND)
    assert made.ask(plain, "What is in region 1 of the map?").question == "What is in region 1 of the map?"


def test_a_question_that_came_as_json_is_read():
    assert workspace().ask("marked1", '{"question": "What is r1?"}').question == f"What is the object {RED}?"


LONG = [
    *("r1 " * 6600, "r1, " * 4900, "r1-" * 6600, "[" * 9000 + "r1" + "]" * 9000, "region" + " " * 19_000 + "1"),
    *("{" * 19_999, "the " * 4900 + "r1", "a" * 19_000 + " r1", "\n" * 19_000 + "r1", "r1 (" * 4900, '"r1' * 6600),
]


@pytest.mark.parametrize("question", LONG, ids=[repr(question[:8]) for question in LONG])
def test_the_longest_questions_are_read(question):
    """Regular expressions that look back and ahead from everywhere would take hours."""
    with suppress(MarkerError):
        assert RED in workspace().ask("marked1", question).question or question[0] in "{r"
