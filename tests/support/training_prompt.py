"""Prompts as the code that trained the published weights wrote them, apart from the package's own code.

Its rules, in `llava/conversation.py` (`Conversation.get_prompt`, style TWO) and `llava/train/train.py`
(`preprocess_multimodal`) of the ViP-LLaVA repository: the system text is followed by a space whatever it is; a text
that is not empty is "ROLE: text" and a separator (a space behind the user's, `</s>` behind the assistant's); an empty
one is "ROLE:" alone; a text with an image is stripped, behind `<image>` and a line break, and stripped once more.
"""

from __future__ import annotations

from collections.abc import Sequence

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)


def training_prompt(turns: Sequence[tuple[str, bool, str | None]], system: str = SYSTEM) -> str:
    """Write turns of (question, whether an image comes with it, answer or None)."""
    prompt = system + " "
    for question, has_image, answer in turns:
        said = f"<image>\n{question.strip()}".strip() if has_image else question
        prompt += f"USER: {said} " if said else "USER:"
        prompt += f"ASSISTANT: {answer}</s>" if answer else "ASSISTANT:"
    return prompt
