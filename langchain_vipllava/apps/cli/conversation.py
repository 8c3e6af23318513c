"""`Chat`: lines of a person at a terminal, or of a pipe, answered in turn."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

from langchain_vipllava.apps.cli import exits, stdin
from langchain_vipllava.apps.cli.console import Screen, show_error
from langchain_vipllava.apps.cli.marking import MarkOptions, parse_box
from langchain_vipllava.apps.cli.model import Asker, fill
from langchain_vipllava.apps.cli.records import answer_record, error_record, marked_record
from langchain_vipllava.apps.cli.wording import in_options
from langchain_vipllava.errors import MarkerError, VipLlavaError
from langchain_vipllava.markers.kinds import COLOR_NAMES, KINDS
from langchain_vipllava.markers.marked_image import MarkedImage
from langchain_vipllava.protocol.answer import Answer

_PROMPT = "you: "
_HELP = """\
{0}, {1}, ... in a question stand for the marked regions.
/regions           list the marked regions
/mark x0,y0,x1,y1  mark one more region (a box, or a point x,y), and start over; a kind and a color may follow
/again             start over: forget the conversation
/help              show this
/quit              leave; so do Ctrl-D and Ctrl-C"""


@dataclass
class Chat:
    """A conversation about one image.

    Attributes:
        image: its name.
        asker: the model and the conversation so far.
        options: how regions are marked.
        screen: where answers and notes go.
        target: the file of the marked image, written again when a region is marked.
    """

    image: str
    asker: Asker
    options: MarkOptions
    screen: Screen
    target: Path | None = None

    def run(self) -> None:
        """Answer until the lines end."""
        names = ", ".join(f"{{{index}}}" for index in range(len(self.asker.marked.markers)))
        self.screen.note(f"Ask about {names or 'the image'}; /help lists the commands, /quit leaves.")
        while (line := self._read_line()) is not None:
            if line in ("/quit", "/exit"):
                return
            try:
                if line.startswith("/"):
                    self._command(line)
                elif line:
                    self._ask(line)
            except VipLlavaError as error:
                show_error(error)
                if self.screen.as_json:
                    self.screen.record(error_record(line, error, in_options(str(error))))

    def save(self) -> None:
        """Write the marked image, if a file was named."""
        if self.target is not None:
            self.screen.note(f"Wrote {self.asker.marked.save(self.target)}")

    def _read_line(self) -> str | None:
        if sys.stdin.isatty():
            # a person: readline edits the line where both ends are a terminal
            if sys.stdout.isatty():
                line = exits.read_line(_PROMPT)
            else:
                self.screen.note(_PROMPT, end="")
                line = exits.read_line("")
            return None if line is None else line.strip()
        line = next(stdin.lines(), None)
        if line is not None:
            self.screen.note(f"{_PROMPT}{line}")  # or a transcript would have the answers alone
        return line

    def _command(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        if name == "/help":
            self.screen.note(_HELP)
        elif name == "/again":
            self.asker.turns = []
            self.screen.note("Starting over.")
        elif name == "/regions":
            self.screen.markers(self.asker.marked)
            if not self.asker.marked.markers:
                self.screen.note("Nothing is marked: questions are about the whole image.")
        elif name == "/mark":
            self._mark(argument.strip())
        else:
            raise VipLlavaError(
                f"unknown command {name!r}; expected /regions, /mark, /again, /help or /quit. "
                "A question that begins with a slash needs a word before it."
            )

    def _mark(self, argument: str) -> None:
        before = self.asker.marked
        box, _, words = argument.partition(" ")
        if not box:
            raise VipLlavaError("/mark needs a box: /mark x0,y0,x1,y1, then a kind and a color if you like.")
        region = parse_box(box, before.original.size, option="/mark")
        kind, color = _look(words)
        marked = self.options.draw(
            before.original,
            [*before.regions, region],
            kind=[*(marker.kind for marker in before.markers), kind],
            color=[*(marker.color for marker in before.markers), color],
            screen=self.screen,
        )
        self._show(marked)

    def _show(self, marked: MarkedImage) -> None:
        self.asker = replace(self.asker, marked=marked, turns=[])
        self.screen.markers(marked)
        self.screen.note(f"The new region is {{{len(marked.markers) - 1}}}. Starting over with the new image.")
        self.save()

    def _ask(self, line: str) -> None:
        asked = fill(self.asker.marked, line)
        whole: Answer | None = None
        if sys.stdout.isatty() and not self.screen.as_json:
            self.screen.note("model: ", end="")
        for piece in self.asker.stream(asked):
            if isinstance(piece, Answer):
                whole = piece
            elif not self.screen.as_json:
                self.screen.answer(piece, end="")
        if whole is not None and self.screen.as_json:
            about = marked_record(self.image, self.asker.marked, self.target)
            self.screen.record({**answer_record(line, asked, whole), "model": self.asker.backend.name, **about})
        elif whole is not None:
            self.screen.answer("")


def _look(words: str) -> tuple[str | None, str | None]:
    """Read a kind and a color, in any order; the kind may have two words."""
    rest = " ".join(words.lower().replace("_", " ").replace("-", " ").split())
    kind = next((name for name in sorted(KINDS, key=len, reverse=True) if name in rest), None)
    rest = rest.replace(kind or "", "", 1).strip()
    color = next((name for name in COLOR_NAMES if name == rest), None)
    if rest and color is None:
        raise MarkerError(
            f"/mark: {rest!r} is neither a kind ({', '.join(KINDS)}) nor a color ({', '.join(COLOR_NAMES)})."
        )
    return kind, color
