"""The table that a judge completes: of the structure of ViP-Bench's, in words and with examples of ours."""

from __future__ import annotations

_INSTRUCTION = """\
You grade predictions of AI models against the ground truth. Where the ground truth has <AND>, a prediction is \
totally right only if it states every element; where it has <OR>, one of the elements is enough. Grade with 0.0 \
(totally wrong), 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9 or 1.0 (totally right). Fill in the last cell of the \
table, the grade, and write nothing else."""

_EXAMPLES = (
    ("What fruits are within the red rectangle?", "apple <AND> pear", "A banana.", "0.0"),
    ("What fruits are within the red rectangle?", "apple <AND> pear", "An apple.", "0.5"),
    ("What fruits are within the lime rectangle?", "apple <AND> pear", "A pear and an orange.", "0.5"),
    ("What fruits are within the lime rectangle?", "apple <AND> pear", "I see a pear beside an apple.", "1.0"),
    ("What is the price at the blue point?", "2.50 <OR> two and a half dollars", "It costs $2.50.", "1.0"),
    ("What is the price at the blue point?", "2.50 <OR> two and a half dollars", "It costs $5.20.", "0.0"),
    (
        "Why does the person with the yellow mask contour laugh?",
        "The dog has stolen the sausages from the grill, and the cook has not noticed it.",
        "A dog stands near the grill.",
        "0.3",
    ),
    (
        "Why does the person with the yellow mask contour laugh?",
        "The dog has stolen the sausages from the grill, and the cook has not noticed it.",
        "She sees the dog run off with the sausages while the cook still turns to the grill.",
        "1.0",
    ),
)

_HEAD = ("Question", "Ground truth", "Prediction", "Correctness")

SHOTS = "\n".join(
    [
        _INSTRUCTION,
        "",
        " | ".join(_HEAD),
        " | ".join(["---"] * len(_HEAD)),
        *(" | ".join(example) for example in _EXAMPLES),
        "",
    ]
)
"""Instruction and examples; the row to complete follows."""
