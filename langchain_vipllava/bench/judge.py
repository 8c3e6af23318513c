"""`Judge`: an LLM that compares an answer with the truth, as ViP-Bench's evaluation has it done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from langchain_vipllava.bench.judge_shots import SHOTS
from langchain_vipllava.errors import BenchmarkError, describe_error, shorten

_TRIES = 6
"""Calls for one grade. Of the official evaluation, which grades 0 when the sixth is needed, whatever it says."""

GRADE_TOKENS = 3
"""Maximum number of tokens of a grade. Of the official evaluation."""

_HOTTER = 0.5
"""What each further call adds to the temperature, after the second. Of the official evaluation."""

_RETRY = "\nPredict the correctness of the answer (digit): "
"""What the official evaluation adds when an answer was no number."""


class ChatModel(Protocol):
    """Any chat model of LangChain."""

    def invoke(self, input: Any, **kwargs: Any) -> Any:
        """Answer."""


@dataclass(frozen=True)
class Grade:
    """A grade.

    Attributes:
        score: 0 to 1.
        content: what the judge wrote last.
        model: the name of the judge.
        is_number: whether it wrote a number; the score of anything else is 0.
    """

    score: float
    content: str
    model: str
    is_number: bool


class Judge:
    """Grades answers with a chat model of LangChain.

    The judge completes the last row of a table of questions, truths, predictions and grades. Only an answer that begins
    with a number from 0 to 1 is a grade; else it is asked again, at most five times, with rising temperature.

    Args:
        chat_model: any chat model that takes `temperature` and `max_tokens` in a call.
        name: its name in the files of grades.
        shots: instruction and examples in front of the row. With the text of the official evaluation, and its model,
            grades are comparable with published ones.
        max_tokens: of a grade; the official evaluation has 3. A model that reasons first needs more.
    """

    def __init__(self, chat_model: ChatModel, name: str, *, shots: str = SHOTS, max_tokens: int = GRADE_TOKENS) -> None:
        if not shots.strip():
            raise BenchmarkError("the judge's examples are empty; expected an instruction and a table.")
        self._model, self.name, self._shots, self._max_tokens = chat_model, name, shots, max_tokens

    def prompt(self, question: str, truth: str, prediction: str) -> str:
        """Return what the judge reads.

        Args:
            question: as the model read it.
            truth: with `<AND>` and `<OR>`.
            prediction: the model's answer.
        """
        spaced = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        return f"{self._shots}\n{' | '.join([question, spaced, prediction, ''])}"

    def grade(self, question: str, plain_question: str, truth: str, prediction: str) -> Grade:
        """Grade an answer.

        Args:
            question: as the model read it.
            plain_question: with `<obj>`; what the official evaluation asks with when it asks again.
            truth: with `<AND>` and `<OR>`.
            prediction: the model's answer.

        Raises:
            BenchmarkError: the judge failed.
        """
        prompt, temperature = self.prompt(question, truth, prediction), 0.0
        for attempt in range(1, _TRIES + 1):
            content, model = self._ask(prompt, temperature)
            if attempt == _TRIES:
                break
            score = _number(content)
            if score is not None:
                return Grade(score, content.split(" ", maxsplit=1)[0].strip(), model, True)
            if attempt > 1:
                temperature += _HOTTER
            prompt = self.prompt(plain_question, truth, prediction) + _RETRY
        return Grade(0.0, content, model, False)

    def _ask(self, prompt: str, temperature: float) -> tuple[str, str]:
        try:
            reply = self._model.invoke(prompt, temperature=temperature, max_tokens=self._max_tokens)
        except Exception as error:  # of any provider
            if temperature > 1:  # which some providers refuse
                return self._ask(prompt, 1.0)
            raise BenchmarkError(
                f"the judge {shorten(self.name, 60)}: {describe_error(error)}. Run again: the grades so far are kept."
            ) from error
        content = reply.text if isinstance(getattr(reply, "text", None), str) else getattr(reply, "content", reply)
        metadata = getattr(reply, "response_metadata", None) or {}
        return str(content), str(metadata.get("model_name") or self.name)


def _number(content: str) -> float | None:
    try:
        number = float(content.split(" ", maxsplit=1)[0].strip())
    except ValueError:
        return None
    return number if 0 <= number <= 1 else None
