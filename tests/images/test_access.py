"""`ImageAccessPolicy.resolve`: the only function that opens or fetches an image."""

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
from tests.support.tool_caller import ToolCaller

PACKAGE = Path(langchain_vipllava.__file__).parent


class ResolvedError(BaseException):  # no Exception: those become errors of our tree on the way
    """Raised when `resolve` is called."""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "scene.png"
    Image.new("RGB", (64, 48), "teal").save(path)
    return path


@pytest.fixture
def resolve_raises(monkeypatch):
    """Make `resolve` raise. Code that opens an image in any other way does not raise."""

    def resolve(self, source, *, channels="rgb"):
        raise ResolvedError(source)

    monkeypatch.setattr(ImageAccessPolicy, "resolve", resolve)


def entry_points(path, llm):
    """Return a call for every entry point that accepts the name of an image."""
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


ENTRY_POINTS = [
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


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_every_entry_point_calls_the_policy(name, path, llm, resolve_raises):
    with pytest.raises(ResolvedError):
        entry_points(path, llm)[name]()


def test_the_list_of_entry_points_is_complete(path, llm):
    assert list(entry_points(path, llm)) == ENTRY_POINTS


def test_the_open_image_tool_calls_the_policy(path, llm, resolve_raises):
    with pytest.raises(ResolvedError):
        ToolCaller(VipLlavaToolkit(chat_model=llm)).call("open_image", source=str(path))


def test_a_conversation_view_calls_the_policy(path, resolve_raises):
    view = ConversationView([HumanMessage([{"type": "image", "url": str(path)}, "What is it?"])])
    assert repr(view) == "USER: <image> What is it?", "repr opens no image"
    with pytest.raises(ResolvedError):
        view._repr_html_()


def test_the_command_line_calls_the_policy(path, tmp_path):
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


def test_counting_tokens_and_rendering_prompts_open_no_image(llm, resolve_raises):
    message = HumanMessage([{"type": "image", "url": "/no/such/file.png"}, {"type": "text", "text": "What is it?"}])
    assert llm.render_prompt([message]) == "USER: <image>\nWhat is it?ASSISTANT:"
    assert llm.get_num_tokens_from_messages([message]) > llm.backend.runner.encoder.image_tokens


def test_no_other_module_opens_or_fetches_images():
    """Checked in the source: only `access.py` calls `fetch`, and only `access.py` and the store read image files."""
    callers: dict[str, set[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
                callers.setdefault(str(name), set()).add(str(file.relative_to(PACKAGE)))
    assert callers["fetch"] == {"images/access.py"}
    assert callers["read_any_file"] == callers["read_file_below"] == {"images/access.py"}
    assert callers["read_bytes"] == {
        "apps/studio/page.py",  # a visitor's upload, and the example
        "backends/checkpoint_facts.py",  # config.json of a checkpoint
        "bench/files.py",  # the questions of a benchmark; its images go through the policy
    }
    assert callers.get("open", set()) <= {
        "backends/served_checkpoint.py",  # the files beside a tokenizer
        "serving/checkpoint_files.py",  # the files of an exported checkpoint
        "serving/server_process.py",  # the log of a server
        "images/decode.py",
        "images/files.py",
        "images/stored_files.py",
        "regions/files.py",  # detections, by a path of the program
        "regions/png_masks.py",  # masks: PNG only, after the budget of masks has paid for their size
        "tools/open_image.py",
        "apps/mcp/tokens.py",  # a file of the operator
        "apps/studio/page.py",  # a method of its desk, which adds bytes
        "apps/cli/bench_run.py",  # a method that makes the judge
        "bench/answer_log.py",  # the answers of a run
        "bench/row_files.py",  # the rows of a benchmark; their images go through the policy
    }
    assert callers["decode_image"] == {"images/image.py"}


def test_files_outside_the_image_root_raise(tmp_path, path):
    inside = tmp_path / "images"
    inside.mkdir()
    (inside / "in.png").write_bytes(path.read_bytes())
    (inside / "link.png").symlink_to(path)
    access = ImageAccessPolicy(inside)
    assert access.resolve("in.png").size == (64, 48)
    assert access.resolve((inside / "in.png").as_uri()).size == (64, 48)
    for source in (path, str(path), "../scene.png", path.as_uri(), "link.png", f" {path} "):
        with pytest.raises(ImageError, match="may be opened here"):
            access.resolve(source)


def test_images_passed_by_value_are_always_accepted(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (5, 4)).save(buffer, "PNG")
    data = buffer.getvalue()
    access = ImageAccessPolicy(tmp_path, FetchPolicy(enabled=False))
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    for source in (data, uri, io.BytesIO(data), Image.new("RGB", (5, 4)), EncodedImage(data)):
        assert access.resolve(source).size == (5, 4)
    with pytest.raises(ImageError, match="switched off"):
        access.resolve("https://example.com/a.png")


def test_an_encoded_image_is_returned_unchanged(path):
    image = EncodedImage(path.read_bytes())
    assert ImageAccessPolicy().resolve(image) is image
    assert load_image(image) is not image.decode(), "load_image returns a copy: callers may draw on it"


def test_an_id_is_looked_up_in_the_store(path):
    store = ImageStore()
    image_id = store.add(path.read_bytes())
    assert ImageAccessPolicy(store=store).resolve(ImageId(image_id)).data == path.read_bytes()
    with pytest.raises(ImageError, match="image_store"):
        ImageAccessPolicy().resolve(ImageId(image_id))
