"""Conversations about marked images that are not square, for the comparison with vLLM."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from PIL import Image, ImageDraw

from langchain_vipllava import Region, mark
from langchain_vipllava.prompt.conversation import Conversation, Turn
from langchain_vipllava.prompt.formats import FORMATS
from langchain_vipllava.protocol.answer import Answer
from langchain_vipllava.protocol.chat_request import ChatRequest

KINDS = ("rectangle", "ellipse", "triangle", "point", "scribble", "mask contour", "mask", "arrow")
SIZES = ((420, 140), (140, 420), (300, 220), (208, 208), (640, 200))
FIRST = ("What is the object {0}?", "What color is the object {0}?", "Describe the object {0}.", "Is {0} a star?")
LATER = ("What color is it?", "How many objects are there?", "Is it left of the others?", "¿Qué es esto?")
SHAPES = ("ellipse", "rectangle")


def scene(number: int) -> tuple[Image.Image, list[Region]]:
    """Draw an image with three shapes, and return it with their regions."""
    draw = random.Random(number)
    width, height = SIZES[number % len(SIZES)]
    image = Image.new("RGB", (width, height), draw.choice(["#2c5", "#864", "#999"]))
    canvas = ImageDraw.Draw(image)
    side = min(width // 4, height // 2)
    regions = []
    for index in range(3):
        x, y = index * width // 3 + draw.randrange(8), draw.randrange(max(1, height - side))
        box = (x, y, x + side, y + side)
        getattr(canvas, draw.choice(SHAPES))(box, fill=draw.choice(["white", "red", "blue", "yellow", "black"]))
        regions.append(Region(box=box))
    return image, regions


def first_request(number: int, *, max_tokens: int = 16) -> ChatRequest:
    """Return the first question of a conversation: marker, format, size and system text vary by its number."""
    image, regions = scene(number)
    kind = KINDS[number % len(KINDS)]
    marked = mark(image, regions[number % 3], kind=kind)
    turn = Turn(marked.question(FIRST[number % len(FIRST)]), (marked.encoded,))
    system = "Answer with one word." if number % 7 == 3 else None
    name = list(FORMATS)[number % len(FORMATS)]
    return ChatRequest(Conversation((turn,), system), max_tokens=max_tokens, prompt_format=name)


def turns_of(number: int) -> int:
    """Return how many turns a conversation has, one to three."""
    return 1 + number // 3 % 3


def next_request(request: ChatRequest, answer: Answer, number: int) -> ChatRequest:
    """Return the request of the next turn."""
    *before, last = request.conversation.turns
    said = replace(last, answer=answer.text, answer_ids=answer.token_ids)
    asked = Turn(LATER[(number + len(before)) % len(LATER)])
    return replace(request, conversation=replace(request.conversation, turns=(*before, said, asked)))


def converse(ask: Callable[[ChatRequest], Answer], number: int, turns: int | None = None) -> list[Answer]:
    """Hold a conversation, and return its answers."""
    request, answers = first_request(number), []
    for _ in range(turns_of(number) if turns is None else turns):
        if answers:
            request = next_request(request, answers[-1], number)
        answers.append(ask(request))
    return answers


def ids_of(answers: Sequence[Answer]) -> list[tuple[int, ...] | None]:
    """Return the token ids of answers."""
    return [answer.token_ids for answer in answers]
