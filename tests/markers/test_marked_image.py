"""`MarkedImage`: the words for its markers, the message, the file."""

from __future__ import annotations

import base64
import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from langchain_vipllava import ImageError, MarkedImage, MarkerError, Region, mark

RED, LIME = "within the red rectangle", "within the lime rectangle"


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("What is {0}?", f"What is the object {RED}?"),
        ("{1} and {0} and {1}", f"The object {LIME} and the object {RED} and the object {LIME}"),
        ("Is {face} in front of {rocket}?", f"Is the object {RED} in front of the object {LIME}?"),
        ("{ face }, { 1 }", f"The object {RED}, the object {LIME}"),
        ("no placeholder", "no placeholder"),
        ("", ""),
        ("{{0}} is {0}", f"{{0}} is the object {RED}"),
        ("{{face}} and {{any word}}", "{face} and {any word}"),
        ('Answer as {"a": {"b": 1}} about {0}', f'Answer as {{"a": {{"b": 1}}}} about the object {RED}'),
        ('{"region": "{0}"}', f'{{"region": "the object {RED}"}}'),
        ('[{"box": [1, 2]}, {}]', '[{"box": [1, 2]}, {}]'),
        ("f() { return }; { } {\n} } {", None),
        ("a } b { c", "a } b { c"),
        ("100% of {0}, \\1 \\g<0> %s", f"100% of the object {RED}, \\1 \\g<0> %s"),
        ("<image> </s> {0}", f"<image> </s> the object {RED}"),
    ],
)
def test_placeholders_become_phrases_and_other_braces_stay(marked, template, filled):
    if filled is None:
        with pytest.raises(MarkerError, match="return"):
            marked.question(template)
    else:
        assert marked.question(template) == filled


@pytest.mark.parametrize("name", ["2", "-1", "cat", "Face", "0.0", "face.x", "9" * 20, "0" * 5000, "²"])
def test_a_placeholder_that_names_no_marker_is_an_error_that_lists_them(marked, name):
    with pytest.raises(MarkerError, match=r"names no marker; expected \{0\} to \{1\}, or by id face, rocket"):
        marked.question(f"What is {{{name}}}?")


def test_ids_of_any_letters_work_and_ids_that_two_regions_share_do_not(photo):
    boxes = [(10 + 60 * i, 10, 60 + 60 * i, 60) for i in range(4)]
    ids = ["kitchen/door", "Tür 2", "twin", "twin"]
    marked = mark(photo, [Region(box=box, id=id) for box, id in zip(boxes, ids, strict=True)])
    assert marked.question("{kitchen/door}, {Tür 2}") == f"The object {RED}, the object {LIME}"
    assert marked.question("{{kitchen/door}}") == "{kitchen/door}"
    assert marked.question("{3}") == "The object within the yellow rectangle"
    with pytest.raises(MarkerError, match="2 markers"):
        marked.question("{twin}")


def test_digits_that_are_an_index_and_another_s_id_are_refused(photo):
    marked = mark(photo, [Region(box=(10, 10, 60, 60), id="1"), Region(box=(80, 10, 130, 60), id="7")])
    assert marked.question("{0}, {7}") == f"The object {RED}, the object {LIME}"
    with pytest.raises(MarkerError, match="index of one marker and the id of another"):
        marked.question("{1}")
    same = mark(photo, [Region(box=(10, 10, 60, 60), id="0"), Region(box=(80, 10, 130, 60), id="1")])
    assert same.question("{0}, {1}") == f"The object {RED}, the object {LIME}"


@pytest.mark.parametrize("question", [None, 3, ["What?"]])
def test_a_question_that_is_no_text_is_refused(marked, question):
    with pytest.raises(MarkerError, match="expected words"):
        marked.question(question)


def test_the_message_is_a_v1_image_block_and_the_question(marked):
    message = marked.message("What is {0}?")
    image, text = message.content
    assert message.type == "human"
    assert text == {"type": "text", "text": f"What is the object {RED}?"}
    assert set(image) == {"type", "base64", "mime_type", "extras"}
    assert (image["type"], image["mime_type"]) == ("image", "image/png")
    decoded = Image.open(io.BytesIO(base64.b64decode(image["base64"], validate=True)))
    assert (decoded.format, decoded.mode, decoded.size) == ("PNG", "RGB", marked.image.size)
    assert decoded.tobytes() == marked.image.tobytes()
    assert base64.b64decode(image["base64"]) == marked._repr_png_()
    assert image == marked.content_block()
    assert message.content_blocks[0]["type"] == "image"


@pytest.mark.parametrize("question", ["", "  ", "\n\t"])
def test_an_empty_question_is_an_error(marked, question):
    with pytest.raises(MarkerError, match="empty"):
        marked.message(question)


def test_extras_say_what_is_marked_in_plain_json(photo):
    regions = [
        Region(box=np.array([10.123456, 20, 60, 70], np.float32), id=1, label="dog", score=np.float32(0.5)),
        Region(mask=np.pad(np.ones((50, 50)), ((100, 362), (200, 262)))),
        Region(point=(300, 40)),
    ]
    extras = mark(photo, regions, kind=["arrow", "mask", "point"]).content_block()["extras"]
    assert json.loads(json.dumps(extras)) == {
        "regions": [
            {"id": "1", "label": "dog", "box": [10.12, 20, 60, 70], "kind": "arrow", "color": "red",
             "phrase": "pointed to by the red arrow"},
            {"box": [200, 100, 250, 150], "kind": "mask", "color": "lime", "phrase": "with the lime mask"},
            {"box": [300, 40, 300, 40], "kind": "point", "color": "blue", "phrase": "at the blue point"},
        ]
    }  # fmt: skip


# --- files ---


def test_saved_as_png_it_is_the_same_image_in_a_folder_that_is_made(marked, tmp_path, monkeypatch):
    path = marked.save(tmp_path / "a" / "b" / "marked.png")
    assert path == tmp_path / "a" / "b" / "marked.png"
    assert Image.open(path).tobytes() == marked.image.tobytes()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert marked.save("~/home.png") == tmp_path / "home.png"


def test_the_suffix_chooses_the_format(marked, tmp_path):
    for name, format in {"a.jpg": "JPEG", "a.JPEG": "JPEG", "a.webp": "WEBP", "a.tiff": "TIFF"}.items():
        assert Image.open(marked.save(str(tmp_path / name))).format == format


@pytest.mark.parametrize("name", ["a", "a.nope", "a.psd", "a.fits", "file/a.png", "\0.png", "."])
def test_what_cannot_be_written_is_an_error_and_leaves_nothing(marked, tmp_path, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ImageError, match="cannot write"):
        marked.save(f"{tmp_path}/{name}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(ImageError, match="cannot write"):
        marked.save("~nobody-of-this-name/a.png")


def test_a_notebook_shows_the_marked_image(marked):
    shown = Image.open(io.BytesIO(marked._repr_png_()))
    assert shown.tobytes() == marked.image.tobytes()
    assert marked.original.tobytes() != marked.image.tobytes()


# --- the value ---


def test_nothing_in_it_changes(marked):
    for name in ("image", "original", "markers", "crop"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(marked, name, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        marked.markers[0].color = "blue"
    assert isinstance(marked.markers, tuple)
    marked.phrases.clear()
    assert marked.phrases == [RED, LIME]


def test_what_it_knows(marked, photo):
    assert isinstance(marked, MarkedImage)
    assert [region.id for region in marked.regions] == ["face", "rocket"]
    assert (marked.image.mode, marked.original.mode, marked.crop) == ("RGB", "RGB", None)
    assert marked.original.tobytes() == photo.tobytes()
    assert marked.sizes_seen == [
        pytest.approx((99 * 336 / 512,) * 2),
        pytest.approx((150 * 336 / 512, 230 * 336 / 512)),
    ]
    assert [marker.number for marker in marked.markers] == [None, None]
    for words in ("512 x 512", RED, LIME, "65 x 65"):
        assert words in repr(marked)
    assert len(repr(marked)) < 300


def test_its_repr_tells_labels_as_data_and_is_bounded(photo):
    label = 'cat (seen 9 x 9 px)>\x1b[2J\u202e\n"' + "x" * 100_000
    shown = repr(mark(photo, Region(box=(10, 10, 90, 90), label=label)))
    assert '"cat (seen 9 x 9 px)>\\u001b[2J\\u202e\\n\\"xxx' in shown
    assert shown.isprintable()
    assert len(shown) < 300


def test_a_marked_image_is_a_collection_of_its_markers(marked):
    assert len(marked) == 2
    assert list(marked) == list(marked.markers)
    assert (marked[0], marked[-1], marked[:1]) == (marked.markers[0], marked.markers[1], marked.markers[:1])
    with pytest.raises(IndexError):
        marked[2]
    whole = MarkedImage(marked.original, marked.original, ())
    assert whole
    assert (len(whole), list(whole)) == (0, [])


def test_numpy_sees_the_pixels(marked):
    pixels = np.asarray(marked)
    assert (pixels.shape, pixels.dtype) == ((512, 512, 3), np.uint8)
    assert np.array_equal(pixels, np.asarray(marked.image))
    assert np.asarray(marked, dtype=np.float32).dtype == np.float32
    pixels[:] = 0
    assert np.asarray(marked).any()
    with pytest.raises(ValueError, match="no array inside"):
        marked.__array__(copy=False)


def test_show_opens_a_viewer_or_fills_the_cell_of_a_notebook(marked, monkeypatch):
    import IPython
    import IPython.display

    shown = []
    monkeypatch.setattr(type(marked.image), "show", lambda image: shown.append("viewer"))  # a fake: no screen here
    monkeypatch.setattr(IPython.display, "display", shown.append)
    marked.show()
    monkeypatch.setattr(IPython, "get_ipython", object)
    marked.show()
    assert shown == ["viewer", marked]
