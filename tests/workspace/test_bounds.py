"""What a workspace remembers is bounded in bytes, images, questions, regions and text; damaged records do no harm."""

from __future__ import annotations

import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from langchain_vipllava import (
    GenerationError,
    ImageStore,
    MarkerError,
    PromptError,
    RegionError,
    SessionError,
    Workspace,
)
from langchain_vipllava.regions.detection_options import DetectionOptions
from langchain_vipllava.workspace.limits import MAX_QUESTION
from tests.workspace.test_workspace import RecordingModel

BOX = [1, 2, 30, 40]
SIZE = (500, 400)
MARKED_BYTES = 2 * 4 * SIZE[0] * SIZE[1]
"""A marked image holds its pixels and those of its original, 4 bytes each."""


def noise(seed):
    return Image.frombytes("RGB", SIZE, random.Random(seed).randbytes(3 * SIZE[0] * SIZE[1]))


def test_the_oldest_images_of_a_session_are_forgotten_first_and_named():
    workspace = Workspace(max_session_bytes=4 * MARKED_BYTES)
    for index in range(6):
        workspace.add_image(noise(index), session="a")
        workspace.mark(f"img{index + 1}", [BOX], session="a")
    kept = [summary.image_id for summary in workspace.list(session="a")]
    assert kept[-1] == "marked6"
    assert "marked1" not in kept
    assert len(kept) >= 3
    with pytest.raises(
        SessionError, match=rf"marked1 was forgotten: .*{4 * MARKED_BYTES} bytes.*open images: .*marked6"
    ):
        workspace.mark("marked1", [BOX], session="a")
    with pytest.raises(SessionError, match="no image 'marked7'"):
        workspace.mark("marked7", [BOX], session="a")


def test_an_image_that_is_more_than_a_session_holds_is_refused_and_the_others_stay():
    workspace = Workspace(max_session_bytes=MARKED_BYTES)
    workspace.add_image(Image.new("RGB", (10, 10)), session="a")
    with pytest.raises(SessionError, match="max_session_bytes"):
        workspace.add_image(Image.new("RGB", (2000, 2000)), session="a")
    assert [summary.image_id for summary in workspace.list(session="a")] == ["img1"]


def test_all_sessions_together_are_bounded_and_the_shared_image_is_the_programs():
    workspace = Workspace(max_bytes=5 * MARKED_BYTES)
    shared = workspace.add_image(noise(0))
    for session in "abcdefgh":
        workspace.mark(shared, [BOX], session=session)
        workspace.mark(workspace.add_image(noise(1), session=session), [BOX], session=session)
    remembered = [session for session in "abcdefgh" if len(workspace.list(session=session)) > 1]
    assert remembered[-1] == "h"
    assert 1 <= len(remembered) <= 5
    assert workspace.look(shared, session="a").image.size == SIZE


def test_parallel_sessions_stay_within_the_bounds():
    workspace = Workspace(max_session_bytes=4 * MARKED_BYTES, max_images=4, max_sessions=3)

    def work(session):
        for _ in range(5):
            workspace.mark(workspace.add_image(noise(session), session=session), [BOX], session=session)
        return len(workspace.list(session=session))

    with ThreadPoolExecutor(8) as pool:
        assert all(count <= 4 for count in pool.map(work, range(8)))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda w: w.ask("img1", "x" * (MAX_QUESTION + 1), session="a"), PromptError, "20001 characters"),
        (lambda w: w.ask("img1", 5, session="a"), PromptError, "question is empty"),
        (lambda w: w.ask(5, "What?", session="a"), SessionError, "image_id=5"),
        (lambda w: w.ask("x" * 5_000_000, "What?", session="a"), SessionError, "no image"),
        (lambda w: w.mark("img1", [BOX] * 10_000, session="a"), MarkerError, "at most 200"),
        (lambda w: w.mark("img1", "[" + "1," * 5_000_000 + "1]", session="a"), RegionError, "max_text_bytes"),
        (lambda w: w.mark("img1", "r1," * 100_000, session="a"), RegionError, "max_rows"),
        (lambda w: w.mark("img1", [[10**5000, 1, 2]], session="a"), RegionError, "is not a region"),
        (lambda w: w.mark("img1", ["[" * 900], session="a"), RegionError, "regions is empty"),
        (lambda w: w.mark("img1", [{"id": 10**5000}], session="a"), SessionError, "no region '<int>'"),
    ],
)
def test_oversized_arguments_are_refused_in_short_messages(photo, call, error, words):
    workspace = Workspace(model=RecordingModel())
    workspace.add_image(photo, session="a")
    with pytest.raises(error, match=words) as caught:
        call(workspace)
    assert len(str(caught.value)) <= 2000
    assert [summary.regions for summary in workspace.list(session="a")] == [()]


def test_the_regions_of_an_image_are_bounded(photo):
    workspace = Workspace(detection_options=DetectionOptions(limits={"max_regions": 3}))
    workspace.add_image(photo, session="a")
    workspace.mark("img1", [BOX, [2, 3, 40, 50]], session="a")
    with pytest.raises(RegionError, match="img1 has 2 regions, and there are 2 more"):
        workspace.mark("img1", [[5, 5, 50, 50], [6, 6, 60, 60]], session="a")


def test_only_a_workspace_with_a_detector_advises_to_detect(photo):
    for detector, advised in ((None, False), (lambda image: [], True)):
        workspace = Workspace(detector=detector)
        workspace.add_image(photo, session="a")
        with pytest.raises(SessionError, match="no region 'r9'") as caught:
            workspace.mark("img1", ["r9"], session="a")
        assert ("detect_regions" in str(caught.value)) is advised


def test_what_is_forgotten_is_gone_and_stays_gone(photo, tmp_path):
    store = ImageStore(tmp_path)
    workspace = Workspace(store=store)
    shared = workspace.add_image(photo)
    own = workspace.add_image(photo, session="a")
    marked = workspace.mark(own, [BOX], session="a").image_id
    workspace.forget(own, session="a")
    assert [summary.image_id for summary in Workspace(store=store).list(session="a")] == [marked]
    with pytest.raises(SessionError, match="img1 was forgotten"):
        workspace.look(own, session="a")
    with pytest.raises(SessionError, match="no image 'img9'"):
        workspace.forget("img9", session="a")
    workspace.forget_session("a")
    workspace.forget_session("never seen")
    assert Workspace(store=store).list(session="a") == ()
    assert workspace.add_image(photo, session="a") == "img1"
    workspace.close()
    assert workspace.list(session="b") == ()
    with pytest.raises(SessionError):
        workspace.look(shared)


@pytest.mark.parametrize("name", ["max_session_bytes", "max_bytes", "max_turns", "max_sessions", "max_images"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", None])
def test_bounds_are_whole_numbers(name, value):
    with pytest.raises(SessionError, match=f"{name}=.*whole number"):
        Workspace(**{name: value})


def mutations(record, rng):
    """Return records with one value replaced by another that JSON can hold."""
    places = []

    def walk(holder):
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                walk(holder[key])

    walk(record)
    for holder, key in rng.sample(places, min(16, len(places))):
        before = holder[key]
        for value in (None, 5, -1, "x", [], {}, [[]], True, 1e400, "\ud800"):
            holder[key] = value
            yield json.dumps(record).encode()
        holder[key] = before


def test_a_damaged_session_is_read_or_starts_empty_and_works_afterwards(photo):
    store = ImageStore()
    workspace = Workspace(model=RecordingModel(), store=store)
    workspace.add_image(photo.resize((64, 48)), session="a", detections=[{"xyxy": BOX, "label": "x"}])
    marked = workspace.mark("img1", ["r1"], session="a", zoom="auto").image_id
    workspace.ask(marked, "What is {r1}?", session="a")
    (key,) = (key for key in store.yield_keys() if key.startswith("session-"))
    record = json.loads(store.mget([key])[0])
    worked = 0
    for damaged in mutations(record, random.Random(0)):
        store.mset([(key, damaged)])
        again = Workspace(model=RecordingModel(), store=store)
        for summary in again.list(session="a"):
            assert summary.text
            again.look(summary.image_id, session="a")._repr_html_()
            again.conversation(summary.image_id, session="a")
            try:
                again.mark(summary.image_id, [[2, 3, 20, 30]], session="a")
                again.ask(summary.image_id, "And now?", session="a")
                worked += 1
            except (RegionError, SessionError, GenerationError):
                pass
        assert again.add_image(photo, session="a").startswith("img")
    assert worked > 20  # most damage is about values that are checked where they are read


def test_a_session_that_is_forgotten_in_the_middle_of_a_question_does_not_fail_it(photo):
    store = ImageStore()
    workspace = Workspace(model=RecordingModel(), store=store)
    workspace.add_image(photo, session="a")
    saving, forgotten = threading.Event(), threading.Event()
    session = workspace._sessions.get("a")

    class Held:
        """The lock of the session's saves, taken by the question only after the session was forgotten."""

        def __enter__(self):
            if threading.current_thread() is not threading.main_thread():
                saving.set()
                assert forgotten.wait(20)

        def __exit__(self, *error):
            return None

    session._saving = Held()
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(workspace.ask, "img1", "What?", session="a")
        assert saving.wait(20)
        workspace.forget_session("a")
        forgotten.set()
        assert answer.result(20).answer
    assert not list(store.yield_keys(prefix="session-"))


def test_the_warning_about_a_damaged_record_is_one_short_printable_line(photo, caplog):
    store = ImageStore()
    Workspace(store=store).add_image(photo, session="a")
    (key,) = store.yield_keys(prefix="session-")
    record = json.loads(store.get(key))
    damages = [
        record | {"format": "\x1b[2J" * 10_000},
        record | {"images": [record["images"][0] | {"id": "\x1b[2J\nimg2" * 10_000, "image": "sha256-" + "0" * 64}]},
    ]
    for damaged in damages:
        store.mset([(key, json.dumps(damaged).encode())])
        caplog.clear()
        assert not Workspace(store=store).list(session="a")
        (line,) = (entry.getMessage() for entry in caplog.records)
        assert line.isprintable()
        assert len(line) < 1000
