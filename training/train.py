"""Train the bundled checkpoint: `python -m training.train --seed 0 --out runs/bundled`.

Stage 1 teaches the vision tower alone (`training.vision`). Stage 2 teaches the whole model to
answer: first one question about one marker, then, as soon as that works, everything else too.
The tower's dense labels stay on as a second loss. Every stage resumes where it stopped.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, IterableDataset
from tqdm import tqdm
from transformers import VipLlavaForConditionalGeneration
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, apply_rotary_pos_emb

from training.export import export
from training.labels import HEADS, DenseHeads, dense_labels
from training.losses import PLACE_WEIGHT, TOLD, ahead_loss, choose_loss, place_loss, point_loss, tell_loss
from training.model import (
    FEATURE_LAYERS,
    IMAGE_TOKENS,
    build_model,
    half_precision,
    normalize,
    read_weights,
)
from training.optim import Optimizers, rate
from training.packing import NOTHING, Packer, RowBatch, attention_mask
from training.plots import plot_losses, plot_samples
from training.questions import BINDING, COMPARING, EVERYTHING, Asker
from training.tokenizer import build_tokenizer
from training.vision import draw_sample, train_vision
from training.wordings import COMPARISONS

BATCH = 64
RATE = 1e-3
VISION_RATE = 0.4  # of the text model's
DENSE_WEIGHT = 0.5
# Which attention heads of which layers are taught where to look: behind a phrase at the object that it names, at the
# start of an answer at the object that it is about, at the start of an answer about two at the phrases that name them
NAME_LAYER, ANSWER_LAYER, HEADS_OF_OBJECTS, HEADS_OF_PHRASES = 1, 2, slice(0, 2), slice(2, 4)
POINT_WEIGHT, PAIR_WEIGHT = 0.5, 0.5
COMPARED, EARLY_WEIGHT = 6.0, 0.5  # of the word that compares two objects; of the same, said a layer earlier
BOUND = 0.5  # "What is ...?" right this often: binding works, go on to everything
COMPARED_BOUND = 0.8  # the same for left, right, above and below
MIXES = (BINDING, COMPARING, EVERYTHING)
METERS = ("identify", "color", "shape", "it_color", "it_shape", "and", "left", "same_color", "count", "describe")


Scores = dict[int, torch.Tensor]


TalkBatch = tuple[torch.Tensor, torch.Tensor, RowBatch, list[list[str]]]


class TalkBatches(IterableDataset[TalkBatch]):
    """Endless batches of images with conversations about them.

    Args:
        seed: of images and questions.
        everything: a shared 0, 1 or 2: which of MIXES to ask.
    """

    def __init__(self, seed: int, everything: Any) -> None:
        self.seed, self.everything = seed, everything

    def __iter__(self) -> Iterator[TalkBatch]:
        """Draw batches indefinitely: pixels, dense labels, rows, kinds of the answers."""
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, 2])
        packer = Packer(build_tokenizer())
        while True:
            mix = MIXES[self.everything.value]
            pixels, labels, rows = [], [], []
            for _ in range(BATCH):
                scene, looks, image = draw_sample(rng, unmarked=0.04 if self.everything.value else 0.0)
                asker = Asker(rng, scene, looks)
                pixels.append(image)
                labels.append(dense_labels(scene, looks))
                rows.append(packer.pack([asker.converse(mix) for _ in range(8)])[0])
            kinds = [row.kinds for row in rows]
            yield torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels)), RowBatch.stack(rows), kinds


class Learner(nn.Module):
    """The model with its dense heads, run on packed rows."""

    def __init__(self, model: VipLlavaForConditionalGeneration, image_start: int) -> None:
        super().__init__()
        self.model, self.start = model, image_start
        self.heads = DenseHeads(model.config.vision_config.hidden_size)
        width = model.config.text_config.hidden_size
        self.places = _make_probe(width, 2)
        self.pairs = _make_probe(width, 2 * TOLD)
        self.relations = _make_probe(width, len(COMPARISONS))
        self.aheads = _make_probe(width, 1)
        self.run = torch.compile(self.read)

    def read(self, pixels: torch.Tensor, rows: RowBatch) -> tuple[torch.Tensor, dict[int, torch.Tensor], Scores]:
        """Run the model.

        Returns:
            Last states of the text model (B, T, width); states behind NAME_LAYER, ANSWER_LAYER and, at -1, of the
            vision tower (B, patches, width); and how much heads look where, see `look`.
        """
        inner = self.model.model
        tower = inner.vision_tower
        states = [tower.pre_layrnorm(tower.embeddings(normalize(pixels)))]
        for layer in tower.encoder.layers:
            states.append(layer(states[-1], None))
        features = torch.cat([states[index][:, 1:] for index in FEATURE_LAYERS], dim=-1)
        image = inner.multi_modal_projector(features)
        words = inner.language_model.embed_tokens(rows.ids)
        start, stop = self.start, self.start + IMAGE_TOKENS
        words = torch.cat([words[:, :start], image.to(words.dtype), words[:, stop:]], dim=1)
        text = inner.language_model
        turns, mask = text.rotary_emb(words, position_ids=rows.positions), attention_mask(rows.segments)
        found, scores = {-1: states[-1][:, 1:]}, {}
        for number, layer in enumerate(text.layers):
            if number in (NAME_LAYER, ANSWER_LAYER):
                scores[number] = self.look(layer, words, turns, HEADS_OF_OBJECTS)[..., start:stop]
            if number == ANSWER_LAYER:
                scores[-1] = self.look(layer, words, turns, HEADS_OF_PHRASES) + mask
            words = layer(words, attention_mask=mask, position_embeddings=turns, position_ids=rows.positions)
            found[number] = words
        return text.norm(words), found, scores

    @staticmethod
    def look(
        layer: LlamaDecoderLayer, words: torch.Tensor, turns: tuple[torch.Tensor, torch.Tensor], heads: slice
    ) -> torch.Tensor:
        """How much some heads of a layer look at each token, before the softmax: (B, heads, T, T)."""
        look, (batch, length, _) = layer.self_attn, words.shape
        inner = layer.input_layernorm(words)
        asked, found = (
            part(inner).view(batch, length, -1, look.head_dim).transpose(1, 2)[:, heads]
            for part in (look.q_proj, look.k_proj)
        )
        asked, found = apply_rotary_pos_emb(asked, found, *turns)
        scores: torch.Tensor = asked @ found.transpose(2, 3) * look.scaling
        return scores

    def forward(
        self, pixels: torch.Tensor, labels: torch.Tensor, rows: RowBatch
    ) -> tuple[torch.Tensor, torch.Tensor, dict[str, float], torch.Tensor]:
        """Loss of the words, loss of the dense labels, how right those are, and which words are right (B, T)."""
        with half_precision():
            said, found, scores = self.run(pixels, rows)
            wanted = rows.targets
            asked = wanted != NOTHING
            logits = self.model.lm_head(said[asked])
            # one word says all about two objects, so it counts more, and is asked for before the last layer too
            compared = rows.first > 0
            early = self.model.lm_head(self.model.model.language_model.norm(found[ANSWER_LAYER][compared]))
        losses = functional.cross_entropy(logits.float(), wanted[asked], reduction="none")
        weights = 1.0 + (COMPARED - 1) * compared[asked].float()
        loss = (losses * weights).sum() / weights.sum()
        if len(early):
            loss = loss + EARLY_WEIGHT * functional.cross_entropy(early.float(), wanted[compared])
            # "left" and "right" help no answer before the places do, nor the other way round: so each is asked for
            understood = self.relations(found[NAME_LAYER][compared]).float()
            loss = loss + PAIR_WEIGHT * functional.cross_entropy(understood, rows.relation[compared] - 1)
        dense, right = self.heads(found[-1].float(), labels)
        owners = labels[:, list(HEADS).index("from_left")]
        names = rows.things * ~asked
        naming, pointing = (
            point_loss(scores[layer].float(), about, owners)
            for layer, about in ((NAME_LAYER, names), (ANSWER_LAYER, rows.things))
        )
        placing = place_loss(self.places(found[NAME_LAYER]).float(), names, owners)
        ahead = [self.aheads(found[layer]).float() for layer in (ANSWER_LAYER, max(found))]
        choosing = choose_loss(scores[-1].float(), rows.first, rows.second)
        telling = tell_loss(self.pairs(found[ANSWER_LAYER]).float(), rows, labels)
        right |= {"name": (-naming).exp().item(), "point": (-pointing).exp().item(), "place": placing.item()}
        right |= {"choose": (-choosing).exp().item(), "tell": telling.item()}
        hits = torch.zeros(asked.shape, dtype=torch.bool)
        hits[asked] = logits.argmax(-1) == wanted[asked]
        loss = loss + POINT_WEIGHT * (naming + pointing) + PLACE_WEIGHT * placing + PAIR_WEIGHT * (choosing + telling)
        loss = loss + PAIR_WEIGHT * sum(ahead_loss(told, rows, owners) for told in ahead)
        return loss, dense, right, hits


def _make_probe(width: int, outputs: int) -> nn.Sequential:
    linear = nn.Linear(width, outputs)
    nn.init.zeros_(linear.weight)
    return nn.Sequential(nn.LayerNorm(width), linear)


@dataclass
class Meter:
    """How many answers are right word for word, per kind of question; a running mean."""

    values: dict[str, float]
    keep: float = 0.97

    def add(self, hits: torch.Tensor, answers: torch.Tensor, kinds: list[list[str]]) -> None:
        """Score one batch: given the words so far, is every next one right?"""
        right: dict[str, list[bool]] = {}
        wrong = (answers > 0) & ~hits
        for row, names in enumerate(kinds):
            missed = set(answers[row][wrong[row]].tolist())
            for number, name in enumerate(names, 1):
                kind = {"right": "left", "above": "left", "below": "left", "same_shape": "same_color"}.get(name, name)
                right.setdefault(kind, []).append(number not in missed)
        for kind, results in right.items():
            now = sum(results) / len(results)
            self.values[kind] = now + self.keep * (self.values.get(kind, now) - now)

    def __str__(self) -> str:
        return " ".join(f"{kind} {self.values[kind]:.3f}" for kind in METERS if kind in self.values)


def train_talk(out: Path, seed: int, steps: int, init: Path | None = None, lr: float = RATE) -> None:
    """Stage 2: train the whole model, resuming from `out/talk.pt` if it is there.

    Args:
        out: folder for checkpoints, logs and images; stage 1's tower is there.
        seed: of weights, images and questions.
        steps: steps in all.
        init: what to go on from, see `read_weights`.
        lr: the highest learning rate, of the text model.
    """
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    packer = Packer(tokenizer)
    learner = _build_learner(tokenizer, packer, out, init)
    optimizers = Optimizers([(learner.model.model.vision_tower, VISION_RATE), (learner, 1.0)], lr)
    everything = multiprocessing.Value("i", int(init is not None))
    step, meter, path = 0, Meter({}), out / "talk.pt"
    if path.exists():
        state = torch.load(path)
        learner.load_state_dict(state["learner"])
        if state["optimizer"] is not None:
            optimizers.load_state_dict(state["optimizer"])
        step, meter.values = state["step"], state["meter"]
        everything.value = state["everything"]
    loader = DataLoader(TalkBatches(seed + 1000 * step, everything), None, num_workers=1, prefetch_factor=4)
    batches, log = iter(loader), (out / "talk.log").open("a")
    bar = tqdm(range(step, steps), initial=step, total=steps, unit="step", mininterval=5)
    for step in bar:
        pixels, labels, rows, kinds = next(batches)
        rows = rows.long()
        loss, dense, right, hits = learner(pixels, labels, rows)
        optimizers.step(loss + DENSE_WEIGHT * dense, rate(step, steps))
        meter.add(hits, rows.answers, kinds)
        known, stage = meter.values, everything.value
        if stage == 0 and (known.get("identify", 0) > BOUND or step > 0.4 * steps):
            everything.value = 1
        if stage == 1 and (known.get("left", 0) > COMPARED_BOUND or step > 0.7 * steps):
            everything.value = 2
        if (step + 1) % 20 == 0:
            seen = " ".join(f"{name}:{value:.2f}" for name, value in right.items())
            now = time.strftime("%H:%M:%S")
            print(f"step {step + 1} {now} loss {loss.item():.4f} {meter} | {seen}", file=log, flush=True)
            bar.set_postfix_str(f"loss {loss.item():.3f} {meter}")
        if (step + 1) % 200 == 0 or step + 1 == steps:
            state = {"learner": learner.state_dict(), "optimizer": optimizers.state_dict(), "meter": meter.values}
            state |= {"step": step + 1, "everything": everything.value}
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)


def _build_learner(tokenizer: Any, packer: Packer, out: Path, init: Path | None) -> Learner:
    model = build_model(tokenizer).train()
    learner = Learner(model, packer.image_start)
    if init is not None:
        missing, unexpected = learner.load_state_dict(read_weights(init), strict=False)
        lacking = [name for name in missing if name.startswith("model.")]  # helper heads may be new
        if lacking or unexpected:
            raise ValueError(
                f"{init} does not fit: {lacking or unexpected}; expected a checkpoint of this architecture."
            )
    state = torch.load(out / "vision.pt")
    model.model.vision_tower.load_state_dict(state["tower"])
    learner.heads.load_state_dict(state["heads"])
    return learner


def main() -> None:
    """Run both stages, then export."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bundled"))
    parser.add_argument("--init", type=Path, help="an exported checkpoint, or a state talk.pt, to go on from")
    parser.add_argument("--vision-steps", type=int, default=2000)
    parser.add_argument("--talk-steps", type=int, default=4000)
    parser.add_argument("--vision-lr", type=float, default=1e-3, help="highest learning rate of stage 1")
    parser.add_argument("--lr", type=float, default=RATE, help="highest learning rate of stage 2")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    plot_samples(options.out / "samples.png", options.seed)
    train_vision(options.out, options.seed, options.vision_steps, options.init, lr=options.vision_lr)
    train_talk(options.out, options.seed, options.talk_steps, options.init, options.lr)
    export(options.out / "talk.pt", options.out / "checkpoint")
    plot_losses(options.out)


if __name__ == "__main__":
    main()
