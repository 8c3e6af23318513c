"""The agent of `langchain-vipllava demo`, and how its steps are shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolMessage
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel

from langchain_vipllava.apps.assets import SCENE
from langchain_vipllava.apps.cli.console import Screen, marker_table
from langchain_vipllava.apps.cli.model import ModelOptions
from langchain_vipllava.apps.detectors import find_detector
from langchain_vipllava.apps.scripted import ScriptedAgentModel
from langchain_vipllava.chat.model import ChatVipLlava
from langchain_vipllava.errors import ImageError, VipLlavaError
from langchain_vipllava.images.source import source_kind
from langchain_vipllava.text import printable
from langchain_vipllava.tools.toolkit import VipLlavaToolkit

_THREAD = "demo"

console = Console(emoji=False)


@dataclass(frozen=True)
class Task:
    """A task for the agent: an image, a detector for it, and questions about the first two regions."""

    image: str
    detector: str
    questions: tuple[str, ...]
    kind: str = "rectangle"

    @property
    def prompt(self) -> str:
        """The task as a user writes it to an agent."""
        questions = " Then: ".join(f"{question!r}" for question in self.questions)
        return (
            f"Open the image {self.image}, detect what is in it, mark the first two regions (kind: {self.kind}), "
            f"and ask: {questions} (r1 and r2 are region ids; keep the braces)."
        )


def run(tasks: list[Task], llm: str | None, model_options: ModelOptions, out: Path | None) -> None:
    """Run the agent on every task, and print every step.

    Args:
        tasks: in their order.
        llm: the agent's LLM, as provider:model; None for a script.
        model_options: the ViP-LLaVA that its tools ask.
        out: folder for the marked images; None to write none.

    Raises:
        VipLlavaError: something that the demo needs is missing, or the agent marked nothing.
    """
    for task in tasks:
        find_detector(task.detector)  # an unknown one is reported before anything is loaded
    agent_llm = None if llm is None else _open_llm(llm)
    backend = model_options.plan()
    model_options.load(backend, Screen())
    settings = model_options.settings
    chat = ChatVipLlava(backend=backend, max_tokens=settings.max_tokens, prompt_format=settings.prompt_format)
    for number, task in enumerate(tasks, start=1):
        _run(task, chat, agent_llm, None if out is None else out / f"{number}-{Path(task.image).stem}.png")
    console.print(f"[dim]{_in_markup(model_options.describe())}.[/]", highlight=False)


def choose_tasks(image: str | None, detector: str | None, questions: tuple[str, ...]) -> list[Task]:
    """Return the task about an image of the user, or the two that come with the demo."""
    about_shapes = questions or ("What is the object {r1}?", "What color is it?")
    about_photo = questions or ("What is the object {r1}?", "Describe it.")
    if image is not None:
        named = image if source_kind(image) != "file" else str(Path(image).expanduser().absolute())
        return [Task(named, detector or "shapes", about_photo)]
    return [
        Task(str(SCENE), detector or "shapes", about_shapes),
        Task(str(_photograph()), detector or "faces", about_photo, kind="ellipse"),
    ]


def _photograph() -> Path:
    """Return the path of scikit-image's portrait of an astronaut (NASA, public domain)."""
    try:
        import skimage.data  # noqa: PLC0415  # optional
    except ImportError as error:
        raise ImageError(
            "the demo's photograph comes with scikit-image, which is not installed: "
            "pip install 'langchain-vipllava[demo]', or pass --image."
        ) from error
    return Path(skimage.data.__file__).parent / "astronaut.png"


def _open_llm(name: str) -> Any:
    try:
        from langchain.chat_models import init_chat_model  # noqa: PLC0415  # optional

        return init_chat_model(name)
    except Exception as error:  # a missing package, a missing key and an unknown provider raise different types
        raise VipLlavaError(f"--llm {name}: {type(error).__name__}: {error}") from error


def _run(task: Task, chat: ChatVipLlava, llm: Any, target: Path | None) -> None:
    console.rule(f"[bold]{_in_markup(Path(task.image).name)}[/]")
    root = Path(task.image).parent if source_kind(task.image) == "file" else None
    toolkit = VipLlavaToolkit(chat_model=chat, detector=find_detector(task.detector), image_root=root)
    agent = _agent(task, toolkit, llm)
    config = {"configurable": {"thread_id": _THREAD}}
    console.print(Panel(_in_markup(task.prompt), title="user", title_align="left", border_style="cyan"))
    last_marked: str | None = None
    for update in agent.stream({"messages": [HumanMessage(task.prompt)]}, config, stream_mode="updates"):
        for message in (message for node in update.values() for message in (node or {}).get("messages", ())):
            _show(message)
            if isinstance(message, ToolMessage) and message.name == "mark_regions" and message.artifact:
                last_marked = message.artifact["image_id"]
    if last_marked is None:
        raise VipLlavaError(
            f"the agent marked nothing; the steps above say why. If the detector {task.detector!r} does not fit the "
            "image, pass another one: --detector faces, or --detector package.module:callable."
        )
    marked = toolkit.marked_image(last_marked, thread_id=_THREAD)
    console.print(marker_table(marked), markup=False, highlight=False, soft_wrap=True)
    messages = toolkit.messages(last_marked, thread_id=_THREAD)
    if messages:
        prompt = chat.render_prompt(messages[:-1])
        shown = escape(printable(prompt))
        console.print(Panel(shown, title="the last prompt, exactly as the model reads it", title_align="left"))
    if target is not None:
        console.print(f"Marked image: [bold]{_in_markup(marked.save(target))}[/]\n", highlight=False, soft_wrap=True)


def _agent(task: Task, toolkit: VipLlavaToolkit, llm: Any) -> Any:
    try:
        from langchain.agents import create_agent  # noqa: PLC0415  # optional
        from langgraph.checkpoint.memory import InMemorySaver  # noqa: PLC0415
    except ImportError as error:
        raise VipLlavaError(
            "the demo's agent needs langchain and langgraph, which are not installed: "
            "pip install 'langchain-vipllava[demo]'."
        ) from error
    if llm is None:
        console.print(
            "[yellow]The agent's LLM is scripted:[/] it calls the tools in a fixed order. "
            "Pass --llm provider:model for a real one.",
            highlight=False,
        )
        llm = ScriptedAgentModel(source=task.image, questions=task.questions, kind=task.kind)
    return create_agent(llm, toolkit.get_tools(), checkpointer=InMemorySaver())


def _show(message: AnyMessage) -> None:
    if isinstance(message, AIMessage):
        for call in message.tool_calls:
            arguments = _in_markup(", ".join(f"{name}={value!r}" for name, value in call["args"].items()))
            name = _in_markup(call["name"])
            console.print(f"[bold magenta]agent[/] calls [bold]{name}[/]({arguments})", highlight=False)
        if message.text:
            answer = escape(printable(message.text))
            console.print(Panel(answer, title="agent", title_align="left", border_style="magenta"))
    elif isinstance(message, ToolMessage):
        style = "red" if message.status == "error" else "green"
        text = "\n".join("    " + line for line in message.text.splitlines())
        console.print(f"[{style}]{escape(printable(text))}[/]", highlight=False)


def _in_markup(text: object) -> str:
    """Return text from outside as one line for a place where rich reads markup."""
    return escape(printable(str(text), keep=""))
