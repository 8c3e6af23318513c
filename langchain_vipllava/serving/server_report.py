"""`examine_server`: what a server is, whether it reads prompts as the training wrote them, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from langchain_vipllava.errors import GenerationError, shorten
from langchain_vipllava.prompt.formats import END_TOKEN, FORMATS, IMAGE_TOKEN, PromptFormatName
from langchain_vipllava.serving.prompt_cases import chat_messages, data_url, prompt_cases
from langchain_vipllava.serving.server_probe import Reply, ServerProbe
from langchain_vipllava.text import printable

_CHECKED_CASES = 5
"""Prompts of each format that are rendered. Chosen: the first have one to three turns, with and without images."""

_GRAMMAR = '%llguidance {}\nstart: "ready"'
"""A grammar that only llguidance reads, which is what enforces answers in this process."""

_EXPORT = "serve an exported checkpoint: langchain-vipllava export"


@dataclass(frozen=True)
class Check:
    """Something that was asked of a server.

    Attributes:
        name: what.
        ok: whether it is as it should be.
        found: what the server said.
        remedy: what to do; "" where it is right.
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""


@dataclass
class ServerReport:
    """What a server is.

    Attributes:
        url: its address.
        version: of vLLM; "unknown" where it does not say.
        models: the names that it serves.
        model: the one that was asked.
        context: tokens of prompt and answer together; None where it does not say.
        checks: what was asked.
        problem: why it cannot be used at all; None where it can.
    """

    url: str
    version: str = "unknown"
    models: tuple[str, ...] = ()
    model: str | None = None
    context: int | None = None
    checks: list[Check] = field(default_factory=list)
    problem: str | None = None

    @property
    def runs(self) -> bool:
        """Whether it answers rightly by at least one of the two routes."""
        right = {check.name for check in self.checks if check.ok}
        return self.problem is None and bool(right & {TOKENS, TEMPLATE})

    def record(self) -> dict[str, Any]:
        """Return the report as a JSON document."""
        return {
            "base_url": self.url,
            "runs": self.runs,
            "problem": self.problem,
            "version": self.version,
            "models": list(self.models),
            "model": self.model,
            "context": self.context,
            "checks": [
                {"name": one.name, "ok": one.ok, "found": one.found, "remedy": one.remedy or None}
                for one in self.checks
            ],
        }


TOKENS = "token-in route"
TEMPLATE = "chat template"


def examine_server(probe: ServerProbe, model: str | None = None) -> ServerReport:
    """Ask a server what it is; it generates a few tokens.

    Args:
        probe: how it is asked.
        model: the name in requests; None for its only one.
    """
    report = ServerReport(f"{probe.root}/v1")
    try:
        _identify(probe, report, model)
        if report.problem is None:
            report.checks += _Questions(probe, str(report.model)).checks()
    except GenerationError as error:
        report.problem = str(error)
    if report.problem is None and not report.runs:
        report.problem = "neither route reads prompts rightly"
    return report


def _identify(probe: ServerProbe, report: ServerReport, model: str | None) -> None:
    version = probe.get("/version").value.get("version")
    if isinstance(version, str):
        report.version = _shown(version)
    listed = probe.get("/v1/models")
    if listed.status in (401, 403):
        report.problem = "the server wants an API key, or another one: VIPLLAVA_API_KEY"
        return
    entries = listed.value.get("data")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    names = [name for entry in entries if isinstance(name := entry.get("id"), str)]
    if not listed.ok or not names:
        report.problem = f"it lists no models at /v1/models ({listed.words}); expected a server like vLLM's"
        return
    report.models = tuple(map(_shown, names))
    if model is None and len(names) > 1:
        report.problem = f"it serves {len(names)} models, {', '.join(report.models[:3])}; say which: --model"
    elif model is not None and model not in names:
        report.problem = f"it does not serve {shorten(model)}, but {', '.join(report.models[:3])}"
    else:
        chosen = model or names[0]
        report.model = _shown(chosen)
        length = next(entry for entry in entries if entry.get("id") == chosen).get("max_model_len")
        report.context = length if isinstance(length, int) else None


class _Questions:
    """The questions to one model of a server."""

    def __init__(self, probe: ServerProbe, model: str) -> None:
        self._probe = probe
        self._model = model

    def checks(self) -> Iterator[Check]:
        begin = self._ids({"prompt": "", "add_special_tokens": True})
        image = self._ids({"prompt": IMAGE_TOKEN, "add_special_tokens": False})
        if begin is None or image is None or len(image) != 1:
            yield Check(TEMPLATE, False, f"/tokenize does not answer, or has no token {IMAGE_TOKEN}", _EXPORT)
            return
        yield self._check_tokens_route(begin)
        yield self._check_template(begin, image[0])
        yield self._check_end()
        yield self._check_typed_token()
        yield self._check_grammar()
        yield self._check_media()

    def _check_tokens_route(self, begin: list[int]) -> Check:
        prompt = FORMATS["user_assistant"].render(prompt_cases()[0]).text
        ids = [*begin, *(self._ids({"prompt": prompt, "add_special_tokens": False}) or ())]
        sampling = {"temperature": 0, "max_tokens": 1}
        reply = self._probe.post(
            "/inference/v1/generate", {"model": self._model, "token_ids": ids, "sampling_params": sampling}
        )
        if reply.ok:
            return Check(TOKENS, True, "/inference/v1/generate answers: prompts go there as token ids")
        return Check(TOKENS, False, f"no /inference/v1/generate ({reply.words})", "start vLLM with --enable-scale-out")

    def _check_template(self, begin: list[int], image: int) -> Check:
        wrong: list[PromptFormatName] = []
        for name, prompt_format in FORMATS.items():
            for conversation in prompt_cases()[:_CHECKED_CASES]:
                text = prompt_format.render(conversation).text
                expected = self._ids({"prompt": text, "add_special_tokens": False})
                body = {
                    "messages": chat_messages(conversation, [data_url(one) for one in conversation.images]),
                    "chat_template_kwargs": {"prompt_format": name},
                }
                ids = self._ids(body)
                if ids is None or expected is None or _folded(ids, image) != [*begin, *expected]:
                    wrong.append(name)
                    break
        right = [name for name in FORMATS if name not in wrong]
        if not wrong:
            return Check(TEMPLATE, True, f"renders the prompts of {', '.join(right)}, with the begin token")
        found = f"renders other prompts in {', '.join(wrong)}" + (f"; right in {', '.join(right)}" if right else "")
        return Check(TEMPLATE, False, found, _EXPORT)

    def _check_end(self) -> Check:
        """Check that no space is put in front of a turn behind `</s>`: prompts of two and more turns in llava_v1."""
        together = self._ids({"prompt": f"a{END_TOKEN}\nb", "add_special_tokens": False})
        apart = self._ids({"prompt": f"a{END_TOKEN}", "add_special_tokens": False})
        line = self._ids({"prompt": "a\nb", "add_special_tokens": False})
        first = self._ids({"prompt": "a", "add_special_tokens": False})
        ok = None not in (together, apart, line, first) and together == [
            *(apart or ()),
            *(line or ())[len(first or ()) :],
        ]
        if ok:
            return Check("tokenizer", True, f"token ids of the training behind {END_TOKEN}")
        return Check("tokenizer", False, f"puts a space behind {END_TOKEN}: later turns in llava_v1 differ", _EXPORT)

    def _check_typed_token(self) -> Check:
        reply = self._tokenize({"messages": [{"role": "user", "content": f"What does {IMAGE_TOKEN} mean?"}]})
        if reply.status == 400:
            return Check("typed tokens", True, f"the chat route refuses an {IMAGE_TOKEN} that somebody typed")
        return Check("typed tokens", False, f"the chat route takes a typed {IMAGE_TOKEN} for an image", _EXPORT)

    def _check_grammar(self) -> Check:
        reply = self._chat("Hello.", structured_outputs={"grammar": _GRAMMAR})
        remedy = """start vLLM with --structured-outputs-config '{"backend":"guidance"}'"""
        if reply.ok and _answer(reply) == "ready":
            return Check("structured output", True, "llguidance enforces it, as in this process")
        return Check("structured output", False, f"not by llguidance ({reply.words})", remedy)

    def _check_media(self) -> Check:
        part = {"type": "image_url", "image_url": {"url": "http://127.0.0.1:9/none.png"}}  # port 9: nobody listens
        body = {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}
        reply = self._tokenize(body)
        if reply.status == 400 and "allowed" in reply.words:
            return Check("media", True, "the server fetches no images of its own")
        remedy = "start vLLM with --allowed-media-domains none.invalid"
        return Check("media", False, "the server fetches images by URL, also from inside its network", remedy)

    def _chat(self, text: str, **settings: Any) -> Reply:
        messages = [{"role": "user", "content": text}]
        body = {"model": self._model, "messages": messages, "temperature": 0, "max_tokens": 8, **settings}
        return self._probe.post("/v1/chat/completions", body)

    def _tokenize(self, body: dict[str, Any]) -> Reply:
        return self._probe.post("/tokenize", {"model": self._model, **body})

    def _ids(self, body: dict[str, Any]) -> list[int] | None:
        reply = self._tokenize(body)
        ids = reply.value.get("tokens")
        return ids if reply.ok and isinstance(ids, list) and all(isinstance(token, int) for token in ids) else None


def _folded(ids: list[int], image: int) -> list[int]:
    """Make one of each run of image tokens."""
    return [token for index, token in enumerate(ids) if token != image or not index or ids[index - 1] != image]


def _answer(reply: Reply) -> str | None:
    try:
        text = reply.value["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return None
    return text if isinstance(text, str) else None


def _shown(text: str) -> str:
    return printable(text[:120], keep="")
