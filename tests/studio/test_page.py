"""The page in a real browser: regions drawn with the mouse, questions asked, the code copied and run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from threading import Event

import pytest
from PIL import Image

from langchain_vipllava.apps.assets import SCENE

pytest.importorskip("gradio", reason="gradio is not installed: the extra `studio`")

CIRCLE, SQUARE, YELLOW, PURPLE = (316, 140), (110, 425), (514, 505), (550, 160)
DRAWINGS = {
    "box": [(206, 30), (426, 250)],
    "point": [CIRCLE],
    "polygon": [(206, 30), (426, 30), (426, 250), (206, 250)],
    "stroke": [(240, 140), (300, 100), (340, 180), (390, 140)],
    "segment": [CIRCLE],
}


def run(code, tmp_path):
    """Run what was copied, beside the image, and return what it prints."""
    shutil.copy(SCENE, tmp_path / SCENE.name)
    (tmp_path / "copied.py").write_text(code)
    done = subprocess.run([sys.executable, "copied.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_kind_of_region_is_drawn_asked_followed_up_and_copied(visit, tmp_path):
    page = visit().example()
    page.draw("box", *DRAWINGS["box"]).draw("point", SQUARE)
    page.draw("polygon", (430, 460), (620, 460), (514, 600)).draw("stroke", (520, 190), (560, 110), (580, 180))
    page.draw("segment", SQUARE)
    assert [line.split(": ")[1] for line in page.regions] == [
        "within the red rectangle",
        "at the lime point",
        "with the blue mask contour",
        "with the yellow mask contour",
        "with the fuchsia mask contour",
    ]
    answers = [page.ask("What is the object {r1}?"), page.ask("What color is it?"), page.ask("What is r3?")]
    assert answers[0] == "A blue circle."
    assert "lue" in answers[1]
    assert run(page.copied(), tmp_path) == answers
    assert page.hosts == {page.page.url.split("/")[2]}


@pytest.mark.parametrize("tool", DRAWINGS)
def test_a_region_that_was_drawn_is_what_the_model_is_asked_about(visit, tool):
    page = visit().example().draw(tool, *DRAWINGS[tool])
    assert page.ask("What color is the object {r1}?") == "Blue."


def test_an_answer_is_streamed_and_stop_leaves_the_conversation_as_it_was(visit, slowly):
    page = visit().example().draw("box", *DRAWINGS["box"])
    page.page.fill("#question textarea", "What is the object {r1}?")
    with slowly():
        page.page.press("#question textarea", "Enter")
        page.page.wait_for_function(
            "() => [...document.querySelectorAll('#chat [data-testid=bot]')].some(e => e.innerText.trim())"
        )
        page.page.click("#stop")
        page.wait_for_status("Stopped")
    assert "stopped" in page.answers[-1]
    assert page.ask("What color is the object {r1}?") == "Blue."
    assert "stopped" not in page.copied()
    assert page.copied().count("workspace.ask(") == 1


def test_clearing_the_chat_begins_a_new_conversation(visit):
    page = visit().example().draw("box", *DRAWINGS["box"])
    page.ask("What is the object {r1}?")
    assert "workspace.ask(" in page.copied()
    page.page.get_by_role("button", name="Clear", exact=True).last.click()
    page.page.wait_for_function("() => !document.querySelector('#python').innerText.includes('workspace.ask(')")
    assert page.count == 1
    assert page.answers == []


def test_two_people_see_their_own_images_alone(visit, site):
    first, second = visit().example(), visit().example()
    first.draw("box", *DRAWINGS["box"])
    second.draw("point", YELLOW).draw("point", SQUARE)
    assert (first.count, second.count) == (1, 2)
    assert first.ask("What color is the object {r1}?") == "Blue."
    assert second.ask("What color is the object {r1}?") == "Yellow."
    assert first.ask("What shape is it?") != second.ask("What shape is it?")
    assert len(first.answers) == len(second.answers) == 2
    first.page.reload()
    first.page.wait_for_selector("#board .board")
    assert first.count == 0
    assert first.answers == []


def test_a_photograph_that_lies_on_its_side_is_shown_and_drawn_on_upright(visit, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (300, 200), "gray")  # its left end is the top of the upright image
    image.paste((0, 0, 255), (0, 0, 100, 200))
    image.save(tmp_path / "sideways.jpg", exif=exif, quality=95)
    page = visit().upload(tmp_path / "sideways.jpg").draw("box", (10, 10), (190, 90))
    assert page.page.locator("#board svg").first.get_attribute("viewBox") == "0 0 200 300"
    code = page.copied()
    box = [float(number) for number in re.search(r"box=\(([^)]*)\)", code)[1].split(",")]
    assert box == pytest.approx([10, 10, 190, 90], abs=2)
    assert "'sideways.jpg'" in code


def test_the_code_names_the_file_as_the_person_does(visit, tmp_path):
    name = "cat & dog $5 {r1} `a`: what?.png"  # Gradio drops some of these
    shutil.copy(SCENE, tmp_path / name)
    assert f"add_image({'./' + name!r})" in visit().upload(tmp_path / name).copied()


def test_what_is_no_image_is_refused_and_its_name_is_no_html(visit, tmp_path):
    (tmp_path / "<img src=x onerror=alert(1)>.png").write_bytes(b"no image")
    page = visit()
    page.page.set_input_files("#upload input[type=file]", next(tmp_path.iterdir()))
    page.wait_for_status("not an image of an allowed format")
    assert page.page.locator("#status img").count() == 0


def test_an_image_is_pasted(visit, tmp_path):
    page = visit()
    page.page.evaluate(
        """async () => {
          const canvas = document.createElement('canvas');
          canvas.width = 120; canvas.height = 80;
          const blob = await new Promise(done => canvas.toBlob(done, 'image/png'));
          const data = new DataTransfer();
          data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));
          document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data, bubbles: true, cancelable: true}));
        }"""
    )
    page.page.wait_for_selector("#board .board.open")
    assert page.page.locator("#board svg").first.get_attribute("viewBox") == "0 0 120 80"


def test_regions_are_drawn_by_keyboard_alone(visit):
    page = visit().example()
    page.page.locator("#board .stage").focus()
    for key in [
        "Enter",
        *["ArrowUp"] * 9,
        *["ArrowLeft"] * 4,
        "Enter",
        *["ArrowDown"] * 7,
        *["ArrowRight"] * 7,
        "Enter",
    ]:
        page.page.keyboard.press(key)
    page.wait_for_regions(1)
    assert page.ask("What color is the object {r1}?") == "Blue."
    page.page.get_by_role("button", name="Remove r1").focus()
    page.page.keyboard.press("Enter")
    page.wait_for_regions(0)


def test_everything_to_operate_has_a_name_for_screen_readers(visit):
    page = visit().example().draw("box", *DRAWINGS["box"])
    nameless = page.page.evaluate(
        """() => [...document.querySelectorAll('button, select, input, textarea, [role=application]')]
          .filter(e => e.offsetParent && !(e.innerText || '').trim() && !e.getAttribute('aria-label')
            && !e.getAttribute('aria-labelledby') && !e.title && !(e.labels && e.labels.length))
          .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert nameless == []


def test_regions_are_detected_changed_and_undone(visit):
    page = visit().example()
    page.page.click("#board [data-do=detect]")
    page.wait_for_regions(4)
    page.page.get_by_label("kind of r2").select_option("ellipse")
    page.page.wait_for_function("() => / ellipse$/m.test(document.querySelector('#board .regions').innerText)")
    page.page.get_by_label("color of r2").select_option("gold")
    page.page.wait_for_function("() => document.querySelector('#board .regions').innerText.includes('gold ellipse')")
    page.page.click("#board [data-do=undo]")
    page.wait_for_regions(3)
    page.page.click("#board [data-do=clear]")
    page.wait_for_regions(0)


@pytest.mark.slow
def test_a_vote_is_told_and_copied(visit, tmp_path):
    page = visit().example().draw("box", *DRAWINGS["box"])
    answer = page.ask("What color is the object {r1}?", vote=True)
    page.tab("Prompt")
    numbers = page.page.locator("#numbers").inner_text()
    assert "agreement" in numbers
    assert run(page.copied(), tmp_path) == [answer]


@pytest.mark.slow
def test_the_heat_map_is_hottest_on_what_was_asked_about(visit):
    page = visit().example().draw("box", *DRAWINGS["box"])
    page.ask("What is the object {r1}?")
    page.tab("Where it looked").page.click("#heat")
    page.page.wait_for_selector("#heat-view img", timeout=180_000)
    x, y = map(float, re.search(r"Peak at (\d+), (\d+)", page.page.locator("#heat-view").inner_text()).groups())
    assert 196 <= x <= 436
    assert 20 <= y <= 260


def test_the_prompt_and_the_numbers_are_those_of_the_answer(visit, backend):
    page = visit().example().draw("box", *DRAWINGS["box"])
    page.ask("What is the object {r1}?")
    page.ask("What color is it?")
    page.tab("Prompt")
    shown = " ".join(page.page.locator("#prompt .cm-content").inner_text().split())
    assert shown == (
        "USER: <image> What is the object within the red rectangle?ASSISTANT: A blue circle."
        "USER: What color is it?ASSISTANT:"
    )
    numbers = dict(line.split("\t") for line in page.page.locator("#numbers tr").all_inner_texts())
    assert int(numbers["of these from the cache"]) > 150
    assert int(numbers["tokens of the prompt"]) > int(numbers["of these from the cache"])
    assert float(numbers["confidence"].rstrip("%")) > 50


def test_downloads_are_what_was_sent_and_said(visit, tmp_path):
    page = visit().example().draw("box", *DRAWINGS["box"])
    page.ask("What is the object {r1}?")
    page.tab("Download")
    for link in page.page.locator("#downloads a").all():
        with page.page.expect_download() as download:
            link.click()
        download.value.save_as(tmp_path / download.value.suggested_filename)
    with Image.open(tmp_path / "marked.png") as marked:
        assert marked.convert("RGB").getpixel((300, 30)) == (255, 0, 0)
    told = json.loads((tmp_path / "conversation.json").read_text())
    assert told["turns"][0]["answer"] == "A blue circle."
    assert told["markers"][0]["phrase"] == "within the red rectangle"


@pytest.mark.parametrize(("scheme", "size"), [("light", (1280, 900)), ("dark", (390, 844))], ids=["laptop", "phone"])
def test_nothing_is_wider_than_the_screen(visit, scheme, size):
    page = visit(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, has_touch=size[0] < 500).example()
    page.draw("box", *DRAWINGS["box"])
    assert page.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert page.page.evaluate("document.body.classList.contains('dark')") == (scheme == "dark")


def test_a_change_during_another_is_not_lost(visit, monkeypatch):
    from langchain_vipllava.apps.studio.desk import Desk

    page = visit().example()
    page.page.click("#board [data-do=detect]")
    page.wait_for_regions(4)
    edit, arrived, released = Desk.edit, Event(), Event()

    def wait(desk, change):
        arrived.set()
        released.wait(60)
        return edit(desk, change)

    monkeypatch.setattr(Desk, "edit", wait)
    page.page.get_by_label("kind of r2").select_option("ellipse")
    assert arrived.wait(60)
    page.page.get_by_label("color of r2").select_option("gold")
    released.set()
    page.page.wait_for_function("() => document.querySelector('#board .regions').innerText.includes('gold ellipse')")
