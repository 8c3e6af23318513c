"""Wordings of the questions: one table for training, one that only the evaluation uses.

These strings are training data. Change one, and a seed no longer leads to the bundled checkpoint.
"""

from __future__ import annotations

ASPECTS: tuple[str, ...] = ("identify", "color", "shape")
SIDES: tuple[str, ...] = ("left", "right", "above", "below")
WHETHER: tuple[str, ...] = ("is_color", "is_shape")
COMPARISONS: tuple[str, ...] = (*SIDES, "same_color", "same_shape", *WHETHER)

WORDINGS: dict[str, tuple[str, ...]] = {
    "identify": (
        "What is {0}?",
        "What is the object {0}?",
        "What object is {0}?",
        "Which object is {0}?",
        "What do you see {0}?",
        "What is the thing {0}?",
        "Name the object {0}.",
        "Identify the object {0}.",
        "Describe the object {0}.",
        "Tell me what is {0}.",
        "What is shown {0}?",
        "What kind of object is {0}?",
    ),
    "color": (
        "What color is the object {0}?",
        "What is the color of the object {0}?",
        "Which color is the object {0}?",
        "What color does the object {0} have?",
        "Which color does the object {0} have?",
        "Name the color of the object {0}.",
        "Tell me the color of the object {0}.",
        "What colour is the object {0}?",
        "The object {0} has what color?",
        "Of what color is the object {0}?",
        "What color is the thing {0}?",
    ),
    "shape": (
        "What shape is the object {0}?",
        "What is the shape of the object {0}?",
        "Which shape is the object {0}?",
        "What shape does the object {0} have?",
        "Which shape does the object {0} have?",
        "Name the shape of the object {0}.",
        "Tell me the shape of the object {0}.",
        "The object {0} has what shape?",
        "Of what shape is the object {0}?",
        "What shape is the thing {0}?",
    ),
    "it_color": (
        "What color is it?",
        "What is its color?",
        "And what color is it?",
        "Which color is it?",
        "What color does it have?",
        "And its color?",
        "Tell me its color.",
    ),
    "it_shape": (
        "What shape is it?",
        "What is its shape?",
        "And what shape is it?",
        "Which shape is it?",
        "What shape does it have?",
        "And its shape?",
        "Tell me its shape.",
    ),
    "it_identify": ("What is it?", "Describe it.", "What object is it?", "Name it.", "Tell me what it is."),
    "and": (
        "And the object {0}?",
        "And {0}?",
        "What about the object {0}?",
        "How about the object {0}?",
        "And the one {0}?",
        "And what about the object {0}?",
    ),
    "left": (
        "Is the object {0} left of the object {1}?",
        "Is the object {0} to the left of the object {1}?",
        "Is the object {0} further left than the object {1}?",
        "Does the object {0} lie left of the object {1}?",
        "Is the one {0} left of the one {1}?",
    ),
    "right": (
        "Is the object {0} right of the object {1}?",
        "Is the object {0} to the right of the object {1}?",
        "Is the object {0} further right than the object {1}?",
        "Does the object {0} lie right of the object {1}?",
        "Is the one {0} right of the one {1}?",
    ),
    "above": (
        "Is the object {0} above the object {1}?",
        "Is the object {0} higher than the object {1}?",
        "Is the object {0} further up than the object {1}?",
        "Does the object {0} lie above the object {1}?",
        "Is the one {0} above the one {1}?",
    ),
    "below": (
        "Is the object {0} below the object {1}?",
        "Is the object {0} lower than the object {1}?",
        "Is the object {0} further down than the object {1}?",
        "Does the object {0} lie below the object {1}?",
        "Is the one {0} below the one {1}?",
    ),
    "same_color": (
        "Do the objects {0} and {1} have the same color?",
        "Are the objects {0} and {1} the same color?",
        "Do the object {0} and the object {1} have the same color?",
        "Are the objects {0} and {1} of the same color?",
        "Does the object {0} have the same color as the object {1}?",
    ),
    "same_shape": (
        "Do the objects {0} and {1} have the same shape?",
        "Are the objects {0} and {1} the same shape?",
        "Do the object {0} and the object {1} have the same shape?",
        "Are the objects {0} and {1} of the same shape?",
        "Does the object {0} have the same shape as the object {1}?",
    ),
    "count": (
        "How many objects are there?",
        "How many objects are in the image?",
        "How many objects do you see?",
        "Count the objects.",
        "What is the number of objects?",
        "How many things are there?",
        "How many objects does the picture show?",
    ),
    "describe": (
        "Describe the image.",
        "Describe the picture.",
        "What is in the image?",
        "What does the image show?",
        "List the objects.",
        "What objects are there?",
        "What do you see?",
        "Name the objects from left to right.",
    ),
}
"""Wordings in the training set. The documentation shows the first one of each kind."""

MORE_WORDINGS: dict[str, tuple[str, ...]] = {
    "identify": (
        "Can you say what the object {0} is?",
        "Do you see which object is {0}?",
        "Tell me which thing is {0}.",
    ),
    "color": (
        "Can you say which color the object {0} is?",
        "Do you see what color the object {0} has?",
        "Which color is the thing {0}?",
        "Name the color of the thing {0}.",
        "Tell me what color the object {0} is.",
        "Can you tell me the color of the object {0}?",
    ),
    "shape": (
        "Can you say which shape the object {0} is?",
        "Do you see what shape the object {0} has?",
        "Which shape is the thing {0}?",
        "Tell me what shape the object {0} is.",
    ),
}
"""Further wordings of the training set. The tokenizer was trained without them: its vocabulary is older."""

YES_OR_NO: dict[str, tuple[str, ...]] = {
    "is_color": (
        "Is the object {0} {1}?",
        "Does the object {0} have the color {1}?",
        "Is the object {0} colored {1}?",
        "Is the color of the object {0} {1}?",
        "Is the thing {0} {1}?",
    ),
    "is_shape": (
        "Is the object {0} a {1}?",
        "Does the object {0} have the shape of a {1}?",
        "Is the thing {0} a {1}?",
        "Is the shape of the object {0} a {1}?",
        "Is what you see {0} a {1}?",
    ),
    "it_is_color": ("Is it {0}?", "Is its color {0}?", "And is it {0}?", "Does it have the color {0}?"),
    "it_is_shape": ("Is it a {0}?", "Is its shape a {0}?", "And is it a {0}?", "Does it have the shape of a {0}?"),
}
"""The same, for questions whether an object has the color or the shape that the question names."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "identify": (
        "Can you tell me which object is {0}?",
        "What can you see {0}?",
        "Which thing is {0}?",
        "Say what the object {0} is.",
    ),
    "color": (
        "Say what color the object {0} is.",
        "Do you know the color of the object {0}?",
        "What is the color of the thing {0}?",
        "Which color has the object {0}?",
    ),
    "shape": (
        "Say what shape the object {0} is.",
        "Do you know the shape of the object {0}?",
        "What is the shape of the thing {0}?",
        "Which shape has the object {0}?",
    ),
    "it_color": ("What is the color of it?", "What about its color?", "And which color does it have?"),
    "it_shape": ("What is the shape of it?", "What about its shape?", "And which shape does it have?"),
    "it_identify": ("Which object is it?", "Say what it is."),
    "and": ("What about the one {0}?", "And how about the object {0}?", "And the thing {0}?"),
    "left": ("Is the thing {0} left of the thing {1}?", "Is the object {0} on the left of the object {1}?"),
    "right": ("Is the thing {0} right of the thing {1}?", "Is the object {0} on the right of the object {1}?"),
    "above": ("Is the thing {0} above the thing {1}?", "Is the object {0} higher up than the object {1}?"),
    "below": ("Is the thing {0} below the thing {1}?", "Is the object {0} lower down than the object {1}?"),
    "same_color": ("Have the objects {0} and {1} the same color?", "Is the color of the objects {0} and {1} the same?"),
    "same_shape": ("Have the objects {0} and {1} the same shape?", "Is the shape of the objects {0} and {1} the same?"),
    "is_color": ("Is the color {1} that of the object {0}?", "Has the object {0} the color {1}?"),
    "is_shape": ("Has the object {0} the shape of a {1}?", "Do you see a {1} {0}?"),
    "it_is_color": ("Has it the color {0}?", "Would you say it is {0}?"),
    "it_is_shape": ("Has it the shape of a {0}?", "Would you say it is a {0}?"),
    "count": (
        "How many objects can you see?",
        "How many things does the image show?",
        "Tell me the number of objects.",
    ),
    "describe": ("Describe what you see.", "What does the picture show?", "Which objects are in the image?"),
}
"""Wordings that the training set leaves out."""

LEADS: tuple[str, ...] = ("Look at the picture. ", "Question: ", "In this image: ", "Please answer. ", "Hello! ")
TAILS: tuple[str, ...] = (" Please.", " Answer briefly.", " Answer the question using a single word or phrase.")
"""Text that the training set sometimes puts around a question, so that the model tolerates such text."""

ENGLISH = """
the of and to in a is that for it was on are as with his they at be this have from or one had by word but not
what all were we when your can said there use an each which she do how their if will up other about out many
then them these so some her would make like him into time has look two more write go see number no way could
people my than first water been call who oil its now find long down day did get come made may part over new
sound take only little work know place year live me back give most very after thing our just name good
sentence man think say great where help through much before line right too mean old any same tell boy follow
came want show also around form three small set put end does another well large must big even such because
turn here why ask went men read need land different home us move try kind hand picture again change off play
spell air away animal house point page letter mother answer found study still learn should world person dog
cat car tree face photo image left top bottom between behind front near object region marker box model
question yes please thanks hello describe compare list count who where when reason color white black green
under
"""
"""Common words for the tokenizer, so that other text takes fewer tokens."""
