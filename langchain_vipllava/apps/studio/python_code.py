"""Python that does what somebody did on the page, and gets the same answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langchain_vipllava.apps.studio.desk import Desk
from langchain_vipllava.apps.studio.drawn import Drawn
from langchain_vipllava.prompt.conversation import Conversation
from langchain_vipllava.protocol.chat_request import ChatRequest

_DEFAULT = ChatRequest(Conversation(()))


@dataclass(frozen=True)
class BackendCode:
    """Python that makes the backend of the page.

    Attributes:
        module: that has the class.
        name: of the class.
        call: what makes the backend.
    """

    module: str
    name: str
    call: str

    @classmethod
    def local(cls, arguments: dict[str, Any]) -> BackendCode:
        """The engine in this process, loaded with fields of `LoadOptions`."""
        given = {key: value for key, value in arguments.items() if value not in (None, "auto")}
        written = ", ".join(f"{key}={value!r}" for key, value in given.items())
        return cls("langchain_vipllava.backends.local", "LocalBackend", f"LocalBackend.load({written})")

    @classmethod
    def served(cls, base_url: tuple[str, ...], model: str | None, tokenizer: str | None) -> BackendCode:
        """Servers; the key comes from the environment."""
        written = [repr(base_url[0] if len(base_url) == 1 else list(base_url))]
        written += [f"{key}={value!r}" for key, value in (("model", model), ("tokenizer", tokenizer)) if value]
        written.append('api_key=os.environ.get("VIPLLAVA_API_KEY") or None')
        return cls("langchain_vipllava.backends.served", "ServedBackend", f"ServedBackend({', '.join(written)})")


def python_code(desk: Desk, backend: BackendCode, settings: ChatRequest) -> str:
    """Write what was done with the image of a desk: its regions, and the questions about them."""
    if desk.image is None:
        return "# Open an image first."
    name = f"./{desk.name}" if ":" in desk.name else desk.name  # "data:x.png" would be a URI
    has_stroke = any(drawn.tool == "stroke" for drawn in desk.drawn)
    imports, vision = _vision(backend, settings)
    names = ["Region", "Workspace"] if desk.drawn else ["Workspace"]
    if has_stroke:
        imports.append("from langchain_vipllava.apps.studio.strokes import stroke_mask")
    imports.append(f"from langchain_vipllava import {', '.join([*names, *(['load_image'] if has_stroke else [])])}")
    lines = [
        *(["import os", ""] if "os.environ" in backend.call else []),
        *sorted(imports, key=lambda line: line.split()[1]),
        "",
        f"workspace = Workspace(model={vision})",
        f"image_id = workspace.add_image({name!r})  # SHA-256 {desk.image.sha256[:12]}",
    ]
    if has_stroke:
        lines.append(f"size = load_image({name!r}).size")
    if desk.drawn:
        lines += ["marked = workspace.mark(", "    image_id,", *_regions(desk.drawn), *_looks(desk), ")"]
        lines.append("image_id = marked.image_id")
    for exchange in desk.exchanges:
        method = "ask_vote" if exchange.is_vote else "ask"
        lines.append(f"print(workspace.{method}(image_id, {exchange.question!r}).answer)")
    return "\n".join(lines)


def _vision(backend: BackendCode, settings: ChatRequest) -> tuple[list[str], str]:
    imports = [
        f"from {backend.module} import {backend.name}",
        "from langchain_vipllava.backends.vision import BackendVision",
    ]
    given = [
        f"{name}={getattr(settings, name)!r}"
        for name in ("sampling", "max_tokens", "prompt_format")
        if getattr(settings, name) != getattr(_DEFAULT, name)
    ]
    if not given:
        return imports, f"BackendVision({backend.call})"
    imports += [
        "from langchain_vipllava.prompt.conversation import Conversation",
        "from langchain_vipllava.protocol.chat_request import ChatRequest",
    ]
    if settings.sampling != _DEFAULT.sampling:
        imports.append("from langchain_vipllava.protocol.sampling import Sampling")
    return imports, f"BackendVision({backend.call}, ChatRequest(Conversation(()), {', '.join(given)}))"


def _regions(drawn: list[Drawn]) -> list[str]:
    return ["    [", *(f"        {region.code()}," for region in drawn), "    ],"]


def _looks(desk: Desk) -> list[str]:
    lines = [f"    kind={desk.kinds!r},"]
    if desk.colors is not None:
        lines.append(f"    color={desk.colors!r},")
    return [*lines, *(['    zoom="auto",'] if desk.zoom else [])]
