"""`python -m benchmarks.structured`: an answer that must match a schema of six fields, beside a free one as long."""

from __future__ import annotations

import argparse
from dataclasses import replace

from benchmarks.answering import ask, make_request, timings
from benchmarks.checkpoint import as_loaded, make_image, make_parts
from benchmarks.timing import measure
from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.engine.runner import ModelRunner
from langchain_vipllava.prompt.conversation import Conversation, Turn

SCHEMA = {
    "type": "object",
    "properties": {
        "color_of_the_object": {"enum": ["red", "green", "blue", "white"]},
        "shape_of_the_object": {"enum": ["circle", "square", "triangle", "star"]},
        "is_it_large": {"type": "boolean"},
        "number_of_objects": {"type": "integer", "minimum": 0, "maximum": 99},
        "left_or_right": {"enum": ["left", "right"]},
        "what_it_says": {"type": "string", "maxLength": 12},
    },
    "required": [
        "color_of_the_object",
        "shape_of_the_object",
        "is_it_large",
        "number_of_objects",
        "left_or_right",
        "what_it_says",
    ],
    "additionalProperties": False,
}


def main() -> None:
    """Print both times, from the first token on, and how many tokens they are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    model, processor = make_parts()
    runner = ModelRunner(as_loaded(model), processor)
    question = Conversation((Turn("Describe the object.", (make_image(0),)),))
    structured = replace(make_request(question, 400), grammar=Grammar.from_schema(SCHEMA))
    answer = ask(runner, structured)
    free = make_request(question, answer.output_tokens)
    times = measure(
        {
            "structured": lambda: timings(ask(runner, structured)).decode,
            "free": lambda: timings(ask(runner, free)).decode,
        },
        options.repeats,
    )
    print(answer.text)
    print(f"{answer.output_tokens} tokens; structured {times['structured']}, free {times['free']}")
    print(f"structured takes {times['structured'].median / times['free'].median:.2f} of the time of the free answer")


if __name__ == "__main__":
    main()
