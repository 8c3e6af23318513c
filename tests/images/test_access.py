"""`ImageAccessPolicy.resolve`: the one way in for every image."""

from __future__ import annotations

import ast
import base64
import io
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import HumanMessage
from PIL import Image

import langchain_vipllava
from langchain_vipllava import (
    FetchPolicy,
    ImageError,
    ImageStore,
    MarkRegions,
    Region,
    VipLlavaToolkit,
    Workspace,
    keep_images,
    load_image,
    mark,
)
from langchain_vipllava.apps.notebook import ConversationView, pick_regions
from langchain_vipllava.images.access import ImageAccessPolicy
from langchain_vipllava.images.image import EncodedImage
from langchain_vipllava.images.store import ImageId
from tests.support.hands import Hands

PACKAGE = Path(langchain_vipllava.__file__).parent


class ResolvedError(Exception):
    """`resolve` was called."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scene.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


@pytest.fixture
def closed(monkeypatch):
    """A policy that opens nothing: what still opens an image went around it."""

    def resolve(self, source, *, channels="rgb"):
        raise ResolvedError(source)

    monkeypatch.setattr(ImageAccessPolicy, "resolve", resolve)


def ways_in(path, llm):
    """Every way in which an image comes into the package from a name."""
    block = {"type": "image", "url": str(path)}
    message = HumanMessage([block, {"type": "text", "text": "What is it?"}])
    cached = llm.model_copy(update={"cache": InMemoryCache()})
    toolkit = VipLlavaToolkit(chat_model=llm)
    store = ImageStore()
    kept = HumanMessage([{"type": "image", "file_id": "sha256-0"}, "What is it?"])
    return {
        "load_image": lambda: load_image(path),
        "mark": lambda: mark(path, Region(box=(1, 2, 30, 40))),
        "message block": lambda: llm.invoke([message]),
        "message block, streamed": lambda: list(llm.stream([message])),
        "message block, cached": lambda: cached.invoke([message]),
        "id of a stored image": lambda: llm.model_copy(update={"image_store": store}).invoke([kept]),
        "keep_images": lambda: keep_images([message], store),
        "chain": lambda: MarkRegions().invoke({"image": path, "detections": [Region(box=(1, 2, 30, 40))]}),
        "add_image": lambda: toolkit.add_image(path),
        "workspace": lambda: Workspace().open(str(path)),
        "notebook widget": lambda: pick_regions(path),
    }


WAYS = [
    "load_image",
    "mark",
    "message block",
    "message block, streamed",
    "message block, cached",
    "id of a stored image",
    "keep_images",
    "chain",
    "add_image",
    "workspace",
    "notebook widget",
]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_goes_through_the_policy(way, path, llm, closed):
    with pytest.raises(ResolvedError):
        ways_in(path, llm)[way]()


def test_every_way_in_is_tried(path, llm):
    assert list(ways_in(path, llm)) == WAYS


def test_a_tool_goes_through_the_policy(path, llm, closed):
    with pytest.raises(ResolvedError):
        Hands(VipLlavaToolkit(chat_model=llm)).right("open_image", source=str(path))


def test_a_conversation_in_a_notebook_goes_through_the_policy(path, closed):
    view = ConversationView([HumanMessage([{"type": "image", "url": str(path)}, "What is it?"])])
    assert repr(view) == "USER: <image> What is it?", "the text opens nothing"
    with pytest.raises(ResolvedError):
        view._repr_html_()


def test_the_command_line_goes_through_the_policy(path, tmp_path):
    code = (
        "import sys\n"
        "from langchain_vipllava.images.access import ImageAccessPolicy\n"
        "def resolve(self, source, *, channels='rgb'): sys.exit(f'resolved {source}')\n"
        "ImageAccessPolicy.resolve = resolve\n"
        "from langchain_vipllava.apps.cli import main\n"
        f"sys.argv = ['x', 'mark', {str(path)!r}, '--box', '1,2,30,40', '--out', {str(tmp_path / 'out.png')!r}]\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert f"resolved {path}" in run.stderr
    assert not (tmp_path / "out.png").exists()


def test_counting_and_rendering_open_no_image(llm, closed):
    message = HumanMessage([{"type": "image", "url": "/no/such/file.png"}, {"type": "text", "text": "What is it?"}])
    assert llm.render_prompt([message]) == "USER: <image>\nWhat is it?ASSISTANT:"
    assert llm.get_num_tokens_from_messages([message]) > llm.backend.runner.encoder.image_tokens


def test_nobody_else_opens_or_fetches():
    """In the source: only `access.py` calls `fetch`, and only it and the store read files of images."""
    callers: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                callers.setdefault(str(name), set()).add(str(file.relative_to(PACKAGE)))
    assert callers["fetch"] == {"images/access.py"}
    assert callers["read_bytes"] == {"images/access.py", "images/store.py"}
    assert callers.get("open", set()) <= {"images/decode.py", "tools/open_image.py"}
    assert callers["decode_image"] == {"images/image.py"}


def test_files_outside_the_folder_are_refused(tmp_path, path):
    inside = tmp_path / "images"
    inside.mkdir()
    (inside / "in.png").write_bytes(path.read_bytes())
    (inside / "link.png").symlink_to(path)
    access = ImageAccessPolicy(inside)
    assert access.resolve("in.png").size == (64, 48)
    assert access.resolve((inside / "in.png").as_uri()).size == (64, 48)
    for outside in (path, str(path), "../scene.png", path.as_uri(), "link.png", f" {path} "):
        with pytest.raises(ImageError, match="outside the image folder"):
            access.resolve(outside)


def test_images_by_value_are_always_accepted(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4)).save(buffer, "PNG")
    data = buffer.getvalue()
    access = ImageAccessPolicy(tmp_path, FetchPolicy(enabled=False))
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (data, uri, io.BytesIO(data), Image.new("RGB", (5, 4)), EncodedImage(data)):
        assert access.resolve(source).size == (5, 4)
    with pytest.raises(ImageError, match="switched off"):
        access.resolve("https://example.com/a.png")


def test_an_encoded_image_passes_as_it_is(path):
    image = EncodedImage(path.read_bytes())
    assert ImageAccessPolicy().resolve(image) is image
    assert load_image(image) is not image.decode(), "what a caller draws on is a copy"


def test_an_id_is_looked_up_in_the_store(path):
    store = ImageStore()
    image_id = store.add(path.read_bytes())
    assert ImageAccessPolicy(store=store).resolve(ImageId(image_id)).data == path.read_bytes()
    with pytest.raises(ImageError, match="image_store"):
        ImageAccessPolicy().resolve(ImageId(image_id))
