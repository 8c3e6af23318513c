"""Does a vote of several markers beat the best single kind? `python -m benchmarks.vote`.

Asks "What is the object {0}?" about scenes in which markers are hard, in all eight kinds and in five colors, through
`Workspace.ask_vote`, and counts the votes of some kinds from the same answers.
"""

from __future__ import annotations

import argparse
import asyncio
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from PIL import Image

from benchmarks.hard_scenes import DIFFICULTIES, HardScene, draw_hard_scene
from langchain_vipllava import Workspace
from langchain_vipllava.backends.local import LocalBackend
from langchain_vipllava.backends.vision import BackendVision
from langchain_vipllava.markers.kinds import KINDS, MarkerColor, MarkerKind
from langchain_vipllava.markers.looks import VOTING_KINDS
from langchain_vipllava.workspace.voted import Election, Vote, same_answer

QUESTION = "What is the object r1?"

VOTING_COLORS: tuple[MarkerColor, ...] = ("red", "lime", "blue", "yellow", "fuchsia")
"""Colors of the vote of colors: the first five."""

COLOR_KIND: MarkerKind = "rectangle"


@dataclass(frozen=True)
class Asked:
    """A scene, and what came of it.

    Attributes:
        difficulty: one of DIFFICULTIES.
        truth: the right answer.
        by_kind: the vote of each kind.
        by_color: the votes of rectangles in five colors.
    """

    difficulty: str
    truth: str
    by_kind: dict[MarkerKind, Vote]
    by_color: tuple[Vote, ...]

    def is_right(self, kinds: Sequence[MarkerKind]) -> bool:
        """Whether the vote of some kinds, or one kind, is right."""
        return self._right([self.by_kind[kind] for kind in kinds])

    @property
    def is_right_by_color(self) -> bool:
        """Whether the vote of colors is right."""
        return self._right(self.by_color)

    @property
    def agreement(self) -> float:
        """The share of the votes for the answer, of the kinds that vote by default."""
        return Election.of([self.by_kind[kind] for kind in VOTING_KINDS]).agreement

    def _right(self, votes: Sequence[Vote]) -> bool:
        return same_answer(votes[Election.of(votes).winner].answer) == same_answer(self.truth)


async def ask(workspace: Workspace, difficulty: str, scene: HardScene, session: str) -> Asked:
    """Ask about one scene in every look."""
    opened = workspace.add_image(Image.fromarray(scene.image), session=session)
    marked = workspace.mark(opened, list(scene.regions), session=session).image_id
    other = workspace.mark(opened, list(scene.regions), session=session).image_id  # a conversation of its own
    kinds = await workspace.aask_vote(marked, QUESTION, session=session, kinds=KINDS)
    colors = await workspace.aask_vote(other, QUESTION, session=session, kinds=[COLOR_KIND], colors=VOTING_COLORS)
    workspace.forget_session(session)
    return Asked(difficulty, scene.answer, dict(zip(KINDS, kinds.votes, strict=True)), colors.votes)


async def measure(seed: int, count: int) -> list[Asked]:
    """Ask about `count` scenes of each difficulty, three at a time."""
    workspace = Workspace(model=BackendVision(LocalBackend.load(model="bundled")))
    room = asyncio.Semaphore(3)

    async def one(difficulty: str, scene: HardScene, session: str) -> Asked:
        async with room:
            return await ask(workspace, difficulty, scene, session)

    asked: list[Asked] = []
    for number, (difficulty, hard) in enumerate(DIFFICULTIES.items()):
        rng = np.random.default_rng([seed, number])
        scenes = [draw_hard_scene(rng, hard) for _ in range(count)]
        asked += await asyncio.gather(*(one(difficulty, scene, str(index)) for index, scene in enumerate(scenes)))
        print(f"asked about {len(asked)} scenes", flush=True)
    return asked


Rule = Callable[[Asked], bool]


def rules() -> Iterator[tuple[str, Rule]]:
    """Yield the rows of the table."""
    for kind in KINDS:
        yield kind, lambda each, kind=kind: each.is_right([kind])  # type: ignore[misc]
    yield f"vote of {', '.join(VOTING_KINDS)}", lambda each: each.is_right(VOTING_KINDS)
    yield "vote of all eight kinds", lambda each: each.is_right(KINDS)
    yield f"vote of a {COLOR_KIND} in {', '.join(VOTING_COLORS)}", lambda each: each.is_right_by_color


def table(asked: Sequence[Asked]) -> str:
    """Format the share of right answers as a Markdown table."""
    lines = [f"| marker | {' | '.join(DIFFICULTIES)} | all |", "|---" * (len(DIFFICULTIES) + 2) + "|"]
    for name, rule in rules():
        shares = [_share(rule, [each for each in asked if each.difficulty == name_of]) for name_of in DIFFICULTIES]
        lines.append(f"| {name} | {' | '.join(f'{share:.1%}' for share in (*shares, _share(rule, asked)))} |")
    return "\n".join(lines)


def comparison(asked: Sequence[Asked]) -> str:
    """Say whether the default vote beats the kind that was best on these very scenes."""
    best = max(KINDS, key=lambda kind: _share(lambda each: each.is_right([kind]), asked))
    won = sum(each.is_right(VOTING_KINDS) and not each.is_right([best]) for each in asked)
    lost = sum(each.is_right([best]) and not each.is_right(VOTING_KINDS) for each in asked)
    gain, error = (won - lost) / len(asked), math.sqrt(max(won + lost, 1)) / len(asked)
    return (
        f"the vote of {len(VOTING_KINDS)} against the best kind of these scenes, {best}: right where it is not {won} "
        f"times, the reverse {lost} times: {gain:+.1%} (standard error {error:.1%})"
    )


def agreement_table(asked: Sequence[Asked]) -> str:
    """Format how often the vote is right, by how many agree, as a Markdown table."""
    lines = ["| votes for the answer | scenes | right |", "|---|---|---|"]
    for votes in range(len(VOTING_KINDS), 0, -1):
        same = [each for each in asked if round(each.agreement * len(VOTING_KINDS)) == votes]
        if same:
            right = _share(lambda each: each.is_right(VOTING_KINDS), same)
            lines.append(f"| {votes} of {len(VOTING_KINDS)} | {len(same)} | {right:.1%} |")
    return "\n".join(lines)


def best_sets(asked: Sequence[Asked]) -> str:
    """List the best set of each size, which are the best by chance too: measure them on other scenes."""
    lines = []
    for size in range(2, len(KINDS) + 1):
        shares = {kinds: np.mean([each.is_right(kinds) for each in asked]) for kinds in combinations(KINDS, size)}
        best = max(shares, key=lambda kinds: shares[kinds])
        lines.append(f"{size}: {', '.join(best)}: {shares[best]:.1%}")
    return "\n".join(lines)


def _share(rule: Rule, asked: Sequence[Asked]) -> float:
    return float(np.mean([rule(each) for each in asked]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=150, help="scenes of each difficulty")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--choose", action="store_true", help="list the best sets of kinds too")
    options = parser.parse_args()
    asked = asyncio.run(measure(options.seed, options.count))
    print(table(asked), comparison(asked), agreement_table(asked), sep="\n\n")
    if options.choose:
        print(f"\n{best_sets(asked)}")


if __name__ == "__main__":
    main()
