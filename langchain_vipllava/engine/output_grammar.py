"""`compile_output`: the form of an answer as a grammar."""

from __future__ import annotations

from langchain_vipllava.engine.grammar import Grammar
from langchain_vipllava.errors import GenerationError
from langchain_vipllava.protocol.output_spec import OutputSpec


def compile_output(output: OutputSpec) -> Grammar | None:
    """Compile what an answer may be into a grammar; None for free text.

    Raises:
        GenerationError: a schema that cannot be enforced.
    """
    if output.is_free_text:
        return None
    if output.text is not None:
        return Grammar.from_text(output.text)
    if not output.tools:
        assert output.schema is not None  # noqa: S101  # or it would be free text
        return Grammar.from_schema(output.schema)
    try:
        calls = output.calls_schema()
    except RecursionError as error:
        raise GenerationError("the parameters of a tool contain themselves; expected a JSON schema.") from error
    if output.must_call:
        return Grammar.from_schema(calls)
    schemas = [calls] if output.schema is None else [calls, output.schema]
    return Grammar.from_alternatives(schemas, or_text=output.schema is None)
