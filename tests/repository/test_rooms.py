"""Architecture: the order of the rooms, light imports, the public names, sizes of files and functions."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import langchain_vipllava
from tests.support.versions import needs_lazy_core

PACKAGE = Path(langchain_vipllava.__file__).parent
ROOMS = [
    "text", "errors", "locks", "schemas", "images", "regions", "markers", "prompt", "workspace", "protocol", "engine",
    "backends", "serving", "chat", "chains", "tools", "bench", "apps",
]  # fmt: skip


def _room_of(module: str) -> str:
    return module.split(".")[1]


def _imports(path: Path) -> list[str]:
    """Return every module of the package that a file imports, at any place in the file."""
    modules = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            names = [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        modules += [name for name in names if name.startswith("langchain_vipllava.")]
    return modules


def test_an_inner_room_never_imports_an_outer_one():
    violations = []
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if parts == ("__init__",):
            continue
        for module in _imports(path):
            if ROOMS.index(_room_of(module)) > ROOMS.index(parts[0]):
                violations.append(f"{'/'.join(parts)} imports {module}")
    assert not violations


def test_every_folder_is_listed_as_a_room():
    folders = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders - {"bundled"} == set(ROOMS) - {"text", "errors", "locks"}


def _loaded_after(code: str) -> set[str]:
    heavy = ("torch", "transformers", "cv2", "langchain", "langgraph", "supervision", "skimage", "httpx", "numpy")
    script = f"import sys\n{code}\nprint(*[name for name in {heavy!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_the_package_loads_nothing_heavy():
    assert _loaded_after("import langchain_vipllava") == set()


def test_marking_and_reading_detections_need_no_torch():
    loaded = _loaded_after(
        "from PIL import Image\n"
        "from langchain_vipllava import mark, regions_from\n"
        "detections = [{'score': 0.9, 'label': 'cat', 'box': {'xmin': 10, 'ymin': 10, 'xmax': 90, 'ymax': 90}}]\n"
        "marked = mark(Image.new('RGB', (336, 336)), regions_from(detections))\n"
        "assert marked.phrases == ['within the red rectangle']"
    )
    assert loaded == {"cv2", "numpy"}


def test_a_chat_model_renders_prompts_without_torch():
    if "transformers" in _loaded_after("from langchain_core.language_models import BaseChatModel"):
        pytest.skip("this langchain-core loads transformers itself")
    loaded = _loaded_after(
        "from langchain_vipllava import ChatVipLlava\n"
        "chat = ChatVipLlava(model='bundled', seed=1)\n"
        "assert repr(chat) and chat.render_prompt('Hello.') == 'USER: Hello.ASSISTANT:'"
    )
    assert not loaded & {"torch", "transformers"}


@pytest.mark.parametrize("name", langchain_vipllava.__all__)
def test_every_public_name_exists_and_is_documented(name):
    assert (getattr(langchain_vipllava, name).__doc__ or "").strip()


def test_public_names_are_pinned():
    assert langchain_vipllava.__all__ == [
        "AnswerTimeoutError",
        "AskAboutRegions",
        "BenchmarkError",
        "BusyError",
        "ChatVipLlava",
        "CheckpointError",
        "DarkImageWarning",
        "DetectRegions",
        "DetectionError",
        "DetectionOptions",
        "EncodedImage",
        "FaintMarkerWarning",
        "FetchPolicy",
        "GenerationError",
        "ImageAccessPolicy",
        "ImageError",
        "ImageLimits",
        "ImageStore",
        "MarkRegions",
        "MarkedImage",
        "MarkedPages",
        "Marker",
        "MarkerError",
        "PromptError",
        "PromptTooLongError",
        "Region",
        "RegionError",
        "RegionLimits",
        "RegionPrompt",
        "RequestLimits",
        "ServerError",
        "SessionError",
        "SkippedRowsWarning",
        "TinyRegionWarning",
        "VipLlavaError",
        "VipLlavaToolkit",
        "VoteAboutRegions",
        "Workspace",
        "confidence",
        "keep_images",
        "load_image",
        "mark",
        "mark_pages",
        "pad_to_square",
        "regions_from",
        "register_format",
        "trim_turns",
        "unload_models",
    ]


def test_an_unknown_name_raises_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        langchain_vipllava.no_such_name  # noqa: B018


def _code_lines(path: Path) -> int:
    """Count the lines of a module without docstrings, comments and blank lines."""
    text = path.read_text()
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            docstrings |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in docstrings for n, line in lines)


def test_files_and_functions_do_not_exceed_their_maximum_length():
    too_long = []
    for path in PACKAGE.rglob("*.py"):
        if _code_lines(path) > 300:
            too_long.append(str(path))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                if body and node.end_lineno - body[0].lineno >= 60:
                    too_long.append(f"{path}:{node.lineno} {node.name}")
    assert not too_long


def _imports_of(folder: str) -> set[str]:
    """Return every module that the files of a room import."""
    modules: set[str] = set()
    for path in (PACKAGE / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module)
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
    return modules


def test_the_chat_room_does_not_import_the_engine():
    engine = {
        name for name in _imports_of("chat") if name.startswith(("langchain_vipllava.engine", "torch", "transformers"))
    }
    assert not engine


@pytest.mark.parametrize(
    "room", ["images", "regions", "prompt", "workspace", "protocol", "engine", "backends", "serving"]
)
def test_inner_rooms_do_not_import_langchain(room):
    langchain = {name for name in _imports_of(room) if name.split(".")[0].startswith(("langchain_core", "langgraph"))}
    assert not langchain


@needs_lazy_core
def test_a_chat_model_with_another_backend_does_not_load_torch():
    loaded = _loaded_after(
        "from tests.support.echo import EchoBackend\n"
        "from langchain_vipllava import ChatVipLlava\n"
        "assert ChatVipLlava(backend=EchoBackend()).invoke('Hello.').text == 'Hello.'"
    )
    assert not loaded & {"torch"}


def test_a_workspace_needs_neither_langchain_nor_torch():
    loaded = _loaded_after(
        "import io, sys\n"
        "from PIL import Image\n"
        "from langchain_vipllava import Workspace\n"
        "workspace = Workspace()\n"
        "image_id = workspace.add_image(Image.new('RGB', (99, 99)), session='s')\n"
        "assert workspace.mark(image_id, [[1, 2, 30, 40]], session='s').marked.phrases == ['within the red rectangle']"
    )
    assert not loaded & {"torch", "transformers", "langchain"}
