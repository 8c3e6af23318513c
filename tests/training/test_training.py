"""`training/`: what it claims of its own parts, on random weights. What it makes is tested in test_bundled.py."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
import transformers

if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("training runs with the versions of constraints.txt", allow_module_level=True)

from training import model as model_module
from training.export import export_model
from training.labels import HEADS, dense_labels, patch_weights, turn_sample
from training.model import GRID, IMAGE_TOKENS, build_model, part_of, read_weights
from training.packing import IGNORE, Packer, RowBatch
from training.questions import EVERYTHING, Asker
from training.scene import PAINT_NAMES, SHAPES, Look, Scene, Thing, draw_looks, draw_scene, mark_scene
from training.structured import ask_json
from training.tokenizer import build_tokenizer
from training.tool_calls import draw_toolbox
from training.train import Learner
from training.vision import draw_sample


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


def make_model(tokenizer):
    torch.manual_seed(0)
    return build_model(tokenizer).eval()


def without(answer, spans):
    return "".join(c for i, c in enumerate(answer) if not any(start <= i < stop for start, stop in spans))


@pytest.mark.parametrize("with_tools", [False, True])
def test_conversations_packed_in_a_row_get_the_numbers_that_they_get_alone(tokenizer, with_tools):
    model, packer, rng = make_model(tokenizer), Packer(tokenizer), np.random.default_rng(1)
    scene, looks, pixels = draw_sample(rng)
    asker = Asker(rng, scene, looks)
    toolbox = draw_toolbox(rng)
    talks = [toolbox.converse(asker) if with_tools else asker.converse(EVERYTHING) for _ in range(8)]
    system = toolbox.output.instructions if with_tools else ""
    row, packed = packer.pack(talks, system)
    assert len(packed) >= (2 if with_tools else 3)
    before, after = (
        tokenizer(f"{system} USER: <image>\n".lstrip()).input_ids,
        tokenizer.convert_tokens_to_ids("<image>"),
    )
    start = before.index(after)
    prefix = [*before[:start], *[after] * IMAGE_TOKENS, *before[start + 1 :]]
    rows = RowBatch.stack([row]).long(torch.device("cpu"))
    pixels = torch.from_numpy(pixels.copy())[None]
    with torch.inference_mode():
        said = model.lm_head(Learner(model, packer.image_start).run(pixels, rows)[0])[0]
        for number, talk in enumerate([talks[index] for index in packed], 1):
            tokenized = packer.tokenize(talk)
            ids, targets = tokenized.ids, tokenized.targets
            alone = model(
                input_ids=torch.tensor([[*prefix, *ids]]), pixel_values=model_module.normalize(pixels)
            ).logits[0, -len(ids) :]
            mine = said[torch.from_numpy(row.segments == number)]
            torch.testing.assert_close(mine, alone, atol=1e-5, rtol=1e-4)
            answers = [target for target in targets if target != IGNORE]
            text = tokenizer.decode(answers, skip_special_tokens=True)
            taught = [
                re.sub(r'(?<=[{,])"[^"]*":|(?<!\d)}', "", without(turn.answer, turn.given))
                for turn in talk
                if turn.taught
            ]
            assert all(answer in text for answer in taught)


@pytest.mark.parametrize("turn", range(1, 8))
def test_a_turned_image_has_the_labels_of_a_scene_that_was_drawn_so(turn):
    rng = np.random.default_rng(3)
    scene = draw_scene(rng, 4, "square", sides=(GRID * 32, GRID * 32))
    looks = draw_looks(rng, scene, 2)

    def turned(points):
        x, y = np.moveaxis(np.asarray(points), -1, 0)
        x, y = scene.size[0] - x if turn & 1 else x, scene.size[0] - y if turn & 2 else y
        return np.stack([y, x] if turn & 4 else [x, y], axis=-1)

    things = [Thing(t.shape, t.color, tuple(turned(t.center)), turned(t.outline)) for t in scene.things]
    order = sorted(range(4), key=lambda index: things[index].center[0])
    other = Scene(scene.image, tuple(things[index] for index in order))
    moved = [Look(order.index(look.thing), look.kind, look.color) for look in looks]
    before = dense_labels(scene, looks)
    pixels, labels = turn_sample(scene.image.transpose(2, 0, 1), before, turn)
    corner = pixels[:, 0, 0]
    assert np.array_equal(corner, scene.image[*{0: (0, 0), 1: (0, -1), 2: (-1, 0), 3: (-1, -1)}[turn & 3]])
    drawn = dense_labels(other, moved)
    assert (labels == drawn).mean() > 0.97  # patches that an object covers just so far may fall to either side
    assert (before == drawn).mean() < 0.97


def test_labels_say_what_is_where():
    rng = np.random.default_rng(1)
    for _ in range(20):
        scene = draw_scene(rng)
        looks = draw_looks(rng, scene)
        labels = dict(zip(HEADS, dense_labels(scene, looks).reshape(len(HEADS), GRID, GRID), strict=True))
        side = max(scene.size)
        left, top = ((side - n) // 2 for n in scene.size)
        assert labels["middle"].sum(where=labels["middle"] > 0) == len(scene.things)
        for number, thing in enumerate(scene.things):
            x, y = (int((n + o) * GRID / side) for n, o in zip(thing.center, (left, top), strict=True))
            assert labels["color"][y, x] == PAINT_NAMES.index(thing.color) + 1
            assert labels["shape"][y, x] == SHAPES.index(thing.shape) + 1
            assert labels["from_left"][y, x] == number + 1
            assert (labels["marker_color"][y, x] > 0) == any(look.thing == number for look in looks)


def test_every_object_counts_alike():
    rng = np.random.default_rng(2)
    scene = draw_scene(rng, 4)
    labels = torch.from_numpy(dense_labels(scene, draw_looks(rng, scene)))[None]
    owners, weights = labels[:, list(HEADS).index("from_left")], patch_weights(labels)
    shares = [weights[owners == number].sum().item() for number in range(1, 5)]
    assert shares == pytest.approx([shares[0]] * 4)
    assert weights[owners == 0].tolist() == pytest.approx([0.1] * int((owners == 0).sum()))


def test_a_checkpoint_for_coarser_images_is_stretched(tokenizer, tmp_path, monkeypatch):
    old = GRID - 3
    monkeypatch.setattr(model_module, "IMAGE_SIZE", old * 16)
    monkeypatch.setattr(model_module, "IMAGE_TOKENS", old * old)
    coarse = make_model(tokenizer)
    name = "model.vision_tower.embeddings.position_embedding.weight"
    table = coarse.state_dict()[name]
    assert len(table) == old * old + 1
    ramp = torch.linspace(0, 1, old)
    with torch.no_grad():  # what grows from the left to the right still does
        table[1:] = ramp.repeat(old)[:, None]
    export_model(coarse, tmp_path)
    monkeypatch.undo()
    weights = read_weights(tmp_path)
    places = weights[f"model.{name}"]
    assert len(places) == IMAGE_TOKENS + 1
    torch.testing.assert_close(places[0], table[0].half().float())
    rows = places[1:, 0].view(GRID, GRID)
    torch.testing.assert_close(rows, rows[:1].expand(GRID, GRID))
    assert (rows[0, 2:-1] > rows[0, 1:-2]).all()
    make_model(tokenizer).load_state_dict(part_of(weights, "model."))


def test_marked_scenes_show_their_markers():
    rng = np.random.default_rng(4)
    for seed in (None, 5):
        scene = draw_scene(rng)
        looks = draw_looks(rng, scene)
        marked = mark_scene(rng, scene, looks, seed)
        assert [(marker.kind, marker.color) for marker in marked.markers] == [(look.kind, look.color) for look in looks]
        assert np.array_equal(np.asarray(marked.original), scene.image)
        assert (np.asarray(marked.image) != scene.image).any()


def test_answers_are_about_what_the_question_names():
    rng = np.random.default_rng(5)
    for _ in range(50):
        scene = draw_scene(rng, 3)
        asker = Asker(rng, scene, draw_looks(rng, scene, 2))
        turn = asker.ask_one(1, "identify")
        thing = asker.thing(1)
        assert turn.answer.lower() == f"{thing.name}."
        assert asker.phrase(1) in turn.question
        left = asker.compare("left", 0, 1)
        if left is not None:
            assert left == (asker.thing(0).center[0] < asker.thing(1).center[0])


def test_values_that_the_question_tells_point_at_their_words(tokenizer):
    packer, rng, copied, told = Packer(tokenizer), np.random.default_rng(5), 0, 0
    pieces = tokenizer.convert_ids_to_tokens
    for _ in range(30):
        scene, looks, _ = draw_sample(rng)
        asker, toolbox = Asker(rng, scene, looks), draw_toolbox(rng)
        for talk in [toolbox.converse(asker) for _ in range(4)] + [ask_json(asker, "json_regions") for _ in range(2)]:
            tokens = packer.tokenize(talk)
            words, turn = pieces(tokens.ids), talk[0]
            for at, source in enumerate(tokens.sources):
                if source < 0:
                    continue
                assert source < at
                if turn.kind == "json_regions":  # behind the phrase of the region, which stands in parentheses
                    assert words[source] == ")"
                    told += 1
                else:
                    said = pieces([tokens.targets[at]])[0]
                    assert said in words[source]
                    copied += 1
    assert copied > 50
    assert told > 50
