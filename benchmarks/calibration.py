"""How often answers are right, beside how sure the model was of them: `make calibration`.

Asks a checkpoint about fresh scenes of `training/scene.py`, whose true answers are known: free answers, enums,
booleans, counts and one answer per region. Prints the accuracy for each bin of confidence, the expected calibration
error (ECE: the mean distance between confidence and accuracy, weighted by the answers of a bin), and the temperature
that would make it smallest. `--write` stores that temperature in the checkpoint's config.json if it pays.
"""

from __future__ import annotations

import argparse
import json
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, MarkedImage
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.protocol import Answer, ChatRequest, Choice, OutputSpec, TokenLogprob
from langchain_vipllava.protocol.confidence import confidences
from langchain_vipllava.protocol.load_options import LoadOptions
from training.cases import CANONICAL
from training.questions import Asker
from training.scene import PAINT_NAMES, SHAPES, draw_looks, draw_scene, mark_scene
from training.wordings import SIDES

BUNDLED = Path("langchain_vipllava/bundled")
BINS = 10
"""Bins of equal width. Usual for the ECE."""

_TEMPERATURES = [round(0.5 + step / 20, 2) for step in range(51)]
"""0.5 to 3. Chosen: outside of it a model would have to be trained again."""

_WORTH = 0.005
"""A temperature is worth storing if it lowers the ECE of the half it was not fitted on by this. Chosen: half a point is
what two runs with other seeds differ by."""

_COLOR, _SHAPE = {"enum": list(PAINT_NAMES)}, {"enum": list(SHAPES)}


@dataclass(frozen=True)
class Asked:
    """A question, and what is right at each path of its answer; `$` is the whole of a free or bare one."""

    message: HumanMessage
    right: Mapping[str, Any]
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """What came: one part of one answer, how sure the model was of it, and whether it is right."""

    kind: str
    confidence: float
    is_right: bool


class KeptAnswers(LocalBackend):
    """Answers as its checkpoint does, and keeps the answers with what they could be."""

    def __init__(self, options: LoadOptions) -> None:
        super().__init__(options)
        self.kept: list[tuple[Answer, OutputSpec]] = []

    def generate(self, request: ChatRequest, *, timeout: float | None = None) -> Answer:
        """Answer, and keep the answer."""
        answer = super().generate(request, timeout=timeout)
        self.kept.append((answer, request.output))
        return answer


def draw_asked(rng: np.random.Generator, kind: str) -> Asked:
    """Draw a scene of 2 to 5 objects with 2 or 3 markers, and a question of a kind of KINDS about it."""
    while True:
        scene = draw_scene(rng, int(rng.integers(2, 6)))
        looks = draw_looks(rng, scene, int(rng.integers(2, min(3, len(scene.things)) + 1)))
        if len({(look.kind, look.color) for look in looks}) == len(looks):
            asked = KINDS[kind](mark_scene(rng, scene, looks), Asker(rng, scene, looks, CANONICAL))
            if asked is not None:
                return asked


def _free(marked: MarkedImage, asker: Asker) -> Asked:
    turn = asker.ask_one(0, str(asker.rng.choice(["identify", "color", "shape", "count"])))
    return Asked(marked.message(turn.question), {"$": turn.answer})


def _color(marked: MarkedImage, asker: Asker) -> Asked:
    return Asked(marked.message("What color is the object {0}?"), {"$": asker.thing(0).color}, _COLOR)


def _thing(marked: MarkedImage, asker: Asker) -> Asked:
    thing = asker.thing(0)
    right = {"color": thing.color, "shape": thing.shape}
    return Asked(marked.message("What is the object {0}?"), right, _object(color=_COLOR, shape=_SHAPE))


def _regions(marked: MarkedImage, asker: Asker) -> Asked:
    aspect = str(asker.rng.choice(["color", "shape"]))
    right = {str(index): getattr(asker.thing(index), aspect) for index in range(len(asker.looks))}
    schema = marked.answers_schema(_COLOR if aspect == "color" else _SHAPE)
    return Asked(marked.message(f"What {aspect} is each marked object?"), right, schema)


def _count(marked: MarkedImage, asker: Asker) -> Asked:
    right = {"count": len(asker.scene.things)}
    return Asked(marked.message("How many objects are there?"), right, _object(count={"type": "integer"}))


def _side(marked: MarkedImage, asker: Asker) -> Asked | None:
    turn = asker.ask_two(str(asker.rng.choice([*SIDES, "same_color"])))
    if turn is None:
        return None
    return Asked(marked.message(turn.question), {"answer": turn.answer == "Yes."}, _object(answer={"type": "boolean"}))


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


KINDS: Mapping[str, Callable[[MarkedImage, Asker], Asked | None]] = {
    "free answer": _free,
    "color, as enum": _color,
    "color and shape, as object": _thing,
    "one answer per region": _regions,
    "count, as integer": _count,
    "left, right, above, below, same color, as boolean": _side,
}
"""What is asked."""


@dataclass(frozen=True)
class Measured:
    """Answers of one kind, with what was right."""

    kind: str
    asked: Asked
    answer: Answer
    output: OutputSpec

    def outcomes(self, ratio: float = 1.0) -> Iterator[Outcome]:
        """Yield the parts that have a confidence, with the logits divided by `ratio` once more."""
        answer = self.answer if ratio == 1 else _tempered(self.answer, ratio)
        found = confidences(answer, self.output)
        for path, right in self.asked.right.items():
            if path in found:
                yield Outcome(self.kind, found[path], self._value(path) == right)

    def _value(self, path: str) -> Any:
        if self.asked.schema is None:
            return self.answer.text
        with suppress(ValueError):  # cut off
            value = json.loads(self.answer.text)
            return value if path == "$" else value.get(path)
        return None


def measure(folder: Path, seed: int, count: int) -> list[Measured]:
    """Ask `count` questions of each kind."""
    backend = KeptAnswers(LoadOptions("bundled" if folder == BUNDLED else str(folder)))
    llm = ChatVipLlava(backend=backend, logprobs=True, max_tokens=128)
    rng = np.random.default_rng([seed, 4242])
    measured = []
    for kind in KINDS:
        for _ in range(count):
            with warnings.catch_warnings(action="ignore"):  # of faint markers: training draws them too
                asked = draw_asked(rng, kind)
            form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": asked.schema}}
            (llm if asked.schema is None else llm.bind(response_format=form)).invoke([asked.message])
            answer, output = backend.kept.pop()
            measured.append(Measured(kind, asked, answer, output))
    return measured


def _tempered(answer: Answer, ratio: float) -> Answer:
    places = tuple(_tempered_place(place, ratio) for place in answer.logprobs or ())
    return replace(answer, logprobs=places, end=answer.end and _tempered_place(answer.end, ratio))


def _tempered_place(place: TokenLogprob, ratio: float) -> TokenLogprob:
    """Divide the logits of a place: what was left out of it has next to no share before and after."""
    admitted = place.admitted or ()
    total = math.log(sum(math.exp(choice.logprob / ratio) for choice in admitted))
    return replace(place, admitted=tuple(Choice(c.token, c.logprob / ratio - total, c.data) for c in admitted))


def outcomes(measured: Sequence[Measured], ratio: float = 1.0) -> list[Outcome]:
    """Return the outcomes of all answers."""
    return [outcome for one in measured for outcome in one.outcomes(ratio)]


def bins_of(found: Sequence[Outcome]) -> dict[int, list[Outcome]]:
    """Sort outcomes into bins of confidence, the lowest first; empty bins are left out."""
    bins: dict[int, list[Outcome]] = {}
    for outcome in sorted(found, key=lambda outcome: outcome.confidence):
        bins.setdefault(min(int(outcome.confidence * BINS), BINS - 1), []).append(outcome)
    return bins


def calibration_error(found: Sequence[Outcome]) -> float:
    """Return the expected calibration error."""
    distances = [len(inside) * abs(_confidence(inside) - _accuracy(inside)) for inside in bins_of(found).values()]
    return sum(distances) / max(len(found), 1)


def fitted_ratio(measured: Sequence[Measured]) -> float:
    """Return what the logits have to be divided by so that the answers have the highest likelihood."""

    def loss(ratio: float) -> float:
        found = outcomes(measured, ratio)
        chances = [each.confidence if each.is_right else 1 - each.confidence for each in found]
        return -float(np.mean(np.log(np.clip(chances, 1e-6, 1))))

    return min(_TEMPERATURES, key=loss)


def _confidence(found: Sequence[Outcome]) -> float:
    return float(np.mean([each.confidence for each in found]))


def _accuracy(found: Sequence[Outcome]) -> float:
    return float(np.mean([each.is_right for each in found]))


def reliability_table(found: Sequence[Outcome]) -> str:
    """Format the bins as a Markdown table."""
    lines = ["| confidence | answers | mean confidence | right |", "|---|---|---|---|"]
    for index, inside in bins_of(found).items():
        name = f"{index / BINS:.0%} to {(index + 1) / BINS:.0%}"
        lines.append(f"| {name} | {len(inside)} | {_confidence(inside):.1%} | {_accuracy(inside):.1%} |")
    return "\n".join(lines)


def kinds_table(found: Sequence[Outcome]) -> str:
    """Format accuracy, confidence and ECE of each kind as a Markdown table."""
    lines = ["| question | answers | right | mean confidence | ECE |", "|---|---|---|---|---|"]
    for kind in [*KINDS, "all"]:
        of_kind = [each for each in found if kind in (each.kind, "all")]
        row = (kind, len(of_kind), _accuracy(of_kind), _confidence(of_kind), calibration_error(of_kind))
        lines.append("| {} | {} | {:.1%} | {:.1%} | {:.1%} |".format(*row))
    return "\n".join(lines)


def main() -> None:
    """Print the tables, and the temperature that would be best."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=BUNDLED)
    parser.add_argument("--count", type=int, default=200, help="questions of each kind")
    parser.add_argument("--seed", type=int, default=30_000)
    parser.add_argument("--write", action="store_true", help="store the best temperature in config.json if it pays")
    options = parser.parse_args()
    config = options.checkpoint / "config.json"
    stored = float(json.loads(config.read_text()).get("confidence_temperature", 1.0))
    measured = measure(options.checkpoint, options.seed, options.count)
    found = outcomes(measured)
    print(kinds_table(found), reliability_table(found), sep="\n\n")
    print(f"\n{options.checkpoint}, seed {options.seed}, confidence_temperature {stored:g}: ECE "
          f"{calibration_error(found):.1%}")  # fmt: skip
    fitted, held_out = measured[::2], measured[1::2]
    ratio = fitted_ratio(fitted)
    best = round(stored * ratio, 2)
    before, after = (calibration_error(outcomes(held_out, each)) for each in (1.0, ratio))
    print(
        f"best temperature on every second answer: {best:g}; ECE of the others {before:.1%} before, {after:.1%} after"
    )
    if before - after < _WORTH:
        print("not worth storing")
    elif options.write:
        content = json.loads(config.read_text())
        config.write_text(json.dumps({**content, "confidence_temperature": best}, indent=2) + "\n")
        print(f"stored in {config}")
    else:
        print("worth storing: --write")


if __name__ == "__main__":
    main()
