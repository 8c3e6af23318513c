"""Train the bundled checkpoint: `python -m training.train --seed 0 --out runs/bundled`.

Stage 1 trains the vision tower alone (`training.vision`). Stage 2 trains the whole model: first on
single questions about one marker, then on comparisons, then on everything. The dense labels of stage 1
stay as a second loss. Both stages resume from their last saved state.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

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
from training.labels import HEAD_INDEX, DenseHeads, dense_labels
from training.losses import (
    OBJECT_OUTPUTS,
    PLACE_WEIGHT,
    ahead_loss,
    choose_loss,
    place_loss,
    point_loss,
    source_loss,
    tell_loss,
)
from training.meter import Meter
from training.model import (
    FEATURE_LAYERS,
    IMAGE_TOKENS,
    best_device,
    build_model,
    half_precision,
    normalize,
    read_weights,
    wake_tokens,
)
from training.optim import Optimizers, rate
from training.packing import IGNORE, Packer, RowBatch, attention_mask
from training.plots import plot_losses, plot_samples
from training.questions import BINDING, COMPARING, EVERYTHING, JSON_FIRST, Asker, Mix
from training.tokenizer import build_tokenizer
from training.tool_calls import draw_toolbox
from training.turn import Turn
from training.vision import draw_sample, train_vision
from training.wordings import COMPARISONS

BATCH = 64
CALLING_SHARE = 0.22  # of rows whose conversations call tools
RATE = 1e-3
VISION_RATE = 0.4  # learning rate of the vision tower, relative to the text model's
DENSE_WEIGHT = 0.5
# Some attention heads learn where to look. In NAME_LAYER, at the end of a phrase, OBJECT_HEADS look at the object that
# it names. In ANSWER_LAYER, at the start of an answer, OBJECT_HEADS look at the object in question, and PHRASE_HEADS at
# the two phrases of a comparison, or at the word that the answer copies.
NAME_LAYER, ANSWER_LAYER, OBJECT_HEADS, PHRASE_HEADS = 1, 2, slice(0, 2), slice(2, 4)
POINT_WEIGHT, PAIR_WEIGHT = 0.5, 0.5
COMPARISON_WEIGHT = 6.0  # of the token that answers a comparison
EARLY_WEIGHT = 0.5  # of the same token, predicted from the layer before the last
MAX_SYSTEM = 170  # tokens of a system text, which leave room for a call
BINDING_THRESHOLD = 0.5  # accuracy of "What is ...?" at which the mix moves on from BINDING
COMPARING_THRESHOLD = 0.8  # accuracy of left, right, above and below at which it moves on from COMPARING
MIXES = (BINDING, COMPARING, EVERYTHING)

States = dict[int, torch.Tensor]
Scores = dict[int, torch.Tensor]
TalkBatch = tuple[torch.Tensor, torch.Tensor, RowBatch, list[list[str]]]


class TalkBatches(IterableDataset[TalkBatch]):
    """Endless batches of images with conversations about them.

    Args:
        seed: of images and questions.
        mix_index: an integer shared with the trainer's process, whose `value` selects one of MIXES.
    """

    def __init__(self, seed: int, mix_index: Any) -> None:
        self.seed, self.mix_index = seed, mix_index

    def __iter__(self) -> Iterator[TalkBatch]:
        """Draw batches indefinitely.

        Yields:
            Pixels (B, 3, H, W) uint8, labels (B, heads, patches) int8, the rows, and the kinds of each row's answers.
        """
        cv2.setNumThreads(1)
        info = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, info.id if info else 0, 2])
        packer = Packer(build_tokenizer())
        while True:
            mix = MIXES[self.mix_index.value]
            pixels, labels, rows = [], [], []
            for _ in range(BATCH):
                scene, looks, image = draw_sample(rng, unmarked=0.04 if self.mix_index.value else 0.0)
                asker = Asker(rng, scene, looks)
                pixels.append(image)
                labels.append(dense_labels(scene, looks))
                rows.append(packer.pack(*draw_conversations(rng, asker, mix, packer))[0])
            kinds = [row.kinds for row in rows]
            yield torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(labels)), RowBatch.stack(rows), kinds


def draw_conversations(
    rng: np.random.Generator, asker: Asker, mix: Mix, packer: Packer
) -> tuple[list[list[Turn]], str]:
    """Draw the conversations of a row, and the system text in front of them: empty unless they call tools."""
    if mix is EVERYTHING and asker.looks and rng.random() < CALLING_SHARE:
        toolbox = draw_toolbox(rng)
        while len(packer.encode_system(toolbox.output.instructions)) > MAX_SYSTEM:
            toolbox = draw_toolbox(rng)
        return [toolbox.converse(asker) for _ in range(8)], toolbox.output.instructions
    if mix is EVERYTHING and asker.looks:  # JSON first: behind the others, few would find a place
        return [asker.converse(JSON_FIRST if number < 2 else mix) for number in range(14)], ""
    return [asker.converse(mix) for _ in range(14)], ""


class StepOutput(NamedTuple):
    """Result of one forward pass.

    Attributes:
        loss: scalar loss of the text model.
        dense_loss: scalar loss of the dense labels.
        metrics: accuracies and auxiliary losses, for the log.
        hits: (B, T), whether the predicted token is correct; False where there is no target.
    """

    loss: torch.Tensor
    dense_loss: torch.Tensor
    metrics: dict[str, float]
    hits: torch.Tensor


class Learner(nn.Module):
    """The model with its auxiliary heads, run on packed rows.

    Args:
        model: the model to train.
        image_start: index of the first image token in a row.
    """

    def __init__(self, model: VipLlavaForConditionalGeneration, image_start: int) -> None:
        super().__init__()
        self.model, self.start = model, image_start
        self.heads = DenseHeads(model.config.vision_config.hidden_size)
        width = model.config.text_config.hidden_size
        self.places = _make_probe(width, 2)
        self.pairs = _make_probe(width, 2 * OBJECT_OUTPUTS)
        self.relations = _make_probe(width, len(COMPARISONS))
        self.aheads = _make_probe(width, 1)
        self.run_compiled = torch.compile(self.run)

    def run(self, pixels: torch.Tensor, rows: RowBatch) -> tuple[torch.Tensor, States, Scores]:
        """Run the model.

        Args:
            pixels: (B, 3, H, W) uint8.
            rows: the packed conversations.

        Returns:
            Final hidden states of the text model, (B, T, width).
            Hidden states after each text layer by its index, and those of the vision tower, (B, patches, width), at -1.
            Attention scores to the image in NAME_LAYER and ANSWER_LAYER, and those between tokens at -1.
        """
        inner = self.model.model
        tower = inner.vision_tower
        vision_states = [tower.pre_layrnorm(tower.embeddings(normalize(pixels)))]
        for layer in tower.encoder.layers:
            vision_states.append(layer(vision_states[-1], None))
        features = torch.cat([vision_states[index][:, 1:] for index in FEATURE_LAYERS], dim=-1)
        image = inner.multi_modal_projector(features)
        hidden = inner.language_model.embed_tokens(rows.ids)
        start, stop = self.start, self.start + IMAGE_TOKENS
        hidden = torch.cat([hidden[:, :start], image.to(hidden.dtype), hidden[:, stop:]], dim=1)
        text = inner.language_model
        rotary = text.rotary_emb(hidden, position_ids=rows.positions)
        mask = attention_mask(rows.segments, rows.positions)
        states, scores = {-1: vision_states[-1][:, 1:]}, {}
        for number, layer in enumerate(text.layers):
            if number in (NAME_LAYER, ANSWER_LAYER):
                scores[number] = self.attention_scores(layer, hidden, rotary, OBJECT_HEADS)[..., start:stop]
            if number == ANSWER_LAYER:
                scores[-1] = self.attention_scores(layer, hidden, rotary, PHRASE_HEADS) + mask
            hidden = layer(hidden, attention_mask=mask, position_embeddings=rotary, position_ids=rows.positions)
            states[number] = hidden
        return text.norm(hidden), states, scores

    @staticmethod
    def attention_scores(
        layer: LlamaDecoderLayer, hidden: torch.Tensor, rotary: tuple[torch.Tensor, torch.Tensor], heads: slice
    ) -> torch.Tensor:
        """Compute attention scores of some heads before mask and softmax: (B, heads, T, T)."""
        attention, (batch, length, _) = layer.self_attn, hidden.shape
        inner = layer.input_layernorm(hidden)
        queries, keys = (
            projection(inner).view(batch, length, -1, attention.head_dim).transpose(1, 2)[:, heads]
            for projection in (attention.q_proj, attention.k_proj)
        )
        queries, keys = apply_rotary_pos_emb(queries, keys, *rotary)
        scores: torch.Tensor = queries @ keys.transpose(2, 3) * attention.scaling
        return scores

    def forward(self, pixels: torch.Tensor, labels: torch.Tensor, rows: RowBatch) -> StepOutput:
        """Compute all losses of a batch.

        Args:
            pixels: (B, 3, H, W) uint8.
            labels: (B, heads, patches), see `dense_labels`.
            rows: the packed conversations, int64.
        """
        with half_precision(pixels.device):
            hidden, states, scores = self.run_compiled(pixels, rows)
            has_target = rows.targets != IGNORE
            logits = self.model.lm_head(hidden[has_target])
            # a single token answers a comparison, so it counts more, and is predicted from an earlier layer too
            compares = rows.first > 0
            early_logits = self.model.lm_head(self.model.model.language_model.norm(states[ANSWER_LAYER][compares]))
        losses = functional.cross_entropy(logits.float(), rows.targets[has_target], reduction="none")
        weights = 1.0 + (COMPARISON_WEIGHT - 1) * compares[has_target].float()
        loss = (losses * weights).sum() / weights.sum()
        if len(early_logits):
            loss = loss + EARLY_WEIGHT * functional.cross_entropy(early_logits.float(), rows.targets[compares])
            # the relation helps no answer before the positions do, nor the reverse, so each has a loss of its own
            relations = self.relations(states[NAME_LAYER][compares]).float()
            loss = loss + PAIR_WEIGHT * functional.cross_entropy(relations, rows.relation[compares] - 1)
        dense_loss, metrics = self.heads(states[-1].float(), labels)
        loss, auxiliary = self._add_auxiliary_losses(loss, states, scores, rows, labels)
        hits = torch.zeros(has_target.shape, dtype=torch.bool, device=pixels.device)
        hits[has_target] = logits.argmax(-1) == rows.targets[has_target]
        return StepOutput(loss, dense_loss, metrics | auxiliary, hits.cpu())

    def _add_auxiliary_losses(
        self, loss: torch.Tensor, states: States, scores: Scores, rows: RowBatch, labels: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        owners = labels[:, HEAD_INDEX["from_left"]]
        names = rows.things * (rows.targets == IGNORE)
        naming, pointing = (
            point_loss(scores[layer].float(), things, owners)
            for layer, things in ((NAME_LAYER, names), (ANSWER_LAYER, rows.things))
        )
        placing = place_loss(self.places(states[NAME_LAYER]).float(), names, owners)
        distances = [self.aheads(states[layer]).float() for layer in (ANSWER_LAYER, max(states))]
        choosing = choose_loss(scores[-1].float(), rows.first, rows.second)
        finding = source_loss(scores[-1].float(), rows.sources)
        telling = tell_loss(self.pairs(states[ANSWER_LAYER]).float(), rows, labels)
        loss = (
            loss
            + POINT_WEIGHT * (naming + pointing)
            + PLACE_WEIGHT * placing
            + PAIR_WEIGHT * (choosing + telling + finding)
        )
        loss = loss + PAIR_WEIGHT * sum(ahead_loss(distance, rows, owners) for distance in distances)
        metrics = {"name": (-naming).exp().item(), "point": (-pointing).exp().item(), "place": placing.item()}
        return loss, metrics | {
            "choose": (-choosing).exp().item(),
            "find": (-finding).exp().item(),
            "tell": telling.item(),
        }


def _make_probe(width: int, outputs: int) -> nn.Sequential:
    """Build a linear probe with zero weights."""
    linear = nn.Linear(width, outputs)
    nn.init.zeros_(linear.weight)
    return nn.Sequential(nn.LayerNorm(width), linear)


def train_talk(out: Path, seed: int, steps: int, init: Path | None = None, lr: float = RATE, workers: int = 1) -> None:
    """Stage 2: train the whole model. Resumes from `out/talk.pt` if it exists.

    Args:
        out: folder of stage 1's `vision.pt`, and for the state and the log.
        seed: of weights, images and questions.
        steps: total number of steps.
        init: checkpoint to continue from, see `read_weights`.
        lr: peak learning rate of the text model.
        workers: processes that draw images and questions.
    """
    torch.manual_seed(seed)
    device = best_device()
    tokenizer = build_tokenizer()
    packer = Packer(tokenizer)
    learner = _build_learner(tokenizer, packer, out, init).to(device)
    optimizers = Optimizers([(learner.model.model.vision_tower, VISION_RATE), (learner, 1.0)], lr)
    mix_index = multiprocessing.Value("i", int(init is not None))
    step, meter, path = 0, Meter({}), out / "talk.pt"
    if path.exists():
        state = torch.load(path, map_location=device)
        learner.load_state_dict(state["learner"])
        if state["optimizer"] is not None:
            optimizers.load_state_dict(state["optimizer"])
        step, meter.values = state["step"], state["meter"]
        mix_index.value = state["everything"]
    loader = DataLoader(TalkBatches(seed + 1000 * step, mix_index), None, num_workers=workers, prefetch_factor=4)
    batches, log = iter(loader), (out / "talk.log").open("a")
    bar = tqdm(range(step, steps), initial=step, total=steps, unit="step", mininterval=5)
    for step in bar:
        pixels, labels, rows, kinds = next(batches)
        output: StepOutput = learner(pixels.to(device), labels.to(device), rows.long(device))
        optimizers.step(output.loss + DENSE_WEIGHT * output.dense_loss, rate(step, steps))
        meter.add(output.hits, rows.answers, kinds)
        mix = MIXES[mix_index.value]
        if mix is BINDING and (meter.values.get("identify", 0) > BINDING_THRESHOLD or step > 0.4 * steps):
            mix_index.value = MIXES.index(COMPARING)
        if mix is COMPARING and (meter.values.get("left", 0) > COMPARING_THRESHOLD or step > 0.7 * steps):
            mix_index.value = MIXES.index(EVERYTHING)
        if (step + 1) % 20 == 0:
            metrics = " ".join(f"{name}:{value:.2f}" for name, value in output.metrics.items())
            now = time.strftime("%H:%M:%S")
            print(f"step {step + 1} {now} loss {output.loss.item():.4f} {meter} | {metrics}", file=log, flush=True)
            bar.set_postfix_str(f"loss {output.loss.item():.3f} {meter}")
        if (step + 1) % 100 == 0 or step + 1 == steps:
            state = {"learner": learner.state_dict(), "optimizer": optimizers.state_dict(), "meter": meter.values}
            state |= {"step": step + 1, "everything": mix_index.value}
            torch.save(state, path.with_suffix(".tmp"))
            path.with_suffix(".tmp").replace(path)


def _build_learner(tokenizer: Any, packer: Packer, out: Path, init: Path | None) -> Learner:
    model = build_model(tokenizer).train()
    learner = Learner(model, packer.image_start)
    if init is not None:
        weights = read_weights(init)
        wake_tokens(weights, tokenizer)
        missing, unexpected = learner.load_state_dict(weights, strict=False)
        missing = [name for name in missing if name.startswith("model.")]  # an exported checkpoint has no heads
        if missing or unexpected:
            raise ValueError(f"{init} has {missing=} and {unexpected=}; expected a checkpoint of this architecture.")
    state = torch.load(out / "vision.pt", map_location="cpu")
    model.model.vision_tower.load_state_dict(state["tower"])
    learner.heads.load_state_dict(state["heads"])
    return learner


def main() -> None:
    """Run both stages, then export the checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/bundled"))
    parser.add_argument("--init", type=Path, help="exported checkpoint, or a talk.pt, to continue from")
    parser.add_argument("--vision-steps", type=int, default=2000)
    parser.add_argument("--talk-steps", type=int, default=4000)
    parser.add_argument("--vision-lr", type=float, default=1e-3, help="peak learning rate of stage 1")
    parser.add_argument("--lr", type=float, default=RATE, help="peak learning rate of stage 2")
    parser.add_argument("--threads", type=int, default=2, help="of torch, on a CPU")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw images; a GPU needs all cores")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    cv2.setNumThreads(1)  # a forked worker waits forever for the threads that OpenCV started before
    options.out.mkdir(parents=True, exist_ok=True)
    plot_samples(options.out / "samples.png", options.seed)
    train_vision(
        options.out, options.seed, options.vision_steps, options.init, lr=options.vision_lr, workers=options.workers
    )
    train_talk(options.out, options.seed, options.talk_steps, options.init, options.lr, options.workers)
    export(options.out / "talk.pt", options.out / "checkpoint")
    plot_losses(options.out)


if __name__ == "__main__":
    main()
