"""`write_chat_template`: the prompt formats as one Jinja template, for servers that render prompts themselves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_vipllava.prompt.conversation import CONTINUE, NO_OUTPUT
from langchain_vipllava.prompt.formats import END_TOKEN, FORMATS, IMAGE_TOKEN, PromptFormat, PromptFormatName
from langchain_vipllava.prompt.turn_markers import escape_turn_markers

_TEMPLATE = """\
{#- Written by `langchain-vipllava export`. Arguments of a request, in chat_template_kwargs:
    prompt_format: @NAMES@ (default: @DEFAULT@)
    escape_turn_markers: whether words that begin a turn are made unlike those of the format (default: true)
-#}
{%- set formats = @FORMATS@ -%}
{%- set name = prompt_format | default(@DEFAULT@, true) -%}
{%- if name not in formats -%}
  {{- raise_exception("unknown prompt_format; expected one of @NAMES@") -}}
{%- endif -%}
{%- set format = formats[name] -%}
{%- set escapes = format.escapes if escape_turn_markers | default(true) else [] -%}
{%- set said = namespace(system=none, side="", turns=0, question="", images=0, answer="", text="", parts=0) -%}

{%- macro write_question(open) -%}
  {%- set question = said.question | trim if format.edges and said.images else said.question -%}
  {%- set greeting = said.turns == 0 and not open and not said.images -%}
  {%- if not question | trim and not greeting and not (said.turns and said.images) -%}
    {{- raise_exception("an empty question; expected text, such as 'Describe the image.'") -}}
  {%- endif -%}
  {%- if format.edges and not said.images and not question -%}
    {{- format.bare -}}
  {%- else -%}
    {{- format.user -}}
    {%- for image in range(said.images) -%}
      {{- @IMAGE@ -}}
      {%- if not (format.edges and loop.last and not question) -%}{{- "\\n" -}}{%- endif -%}
    {%- endfor -%}
    {{- question -}}
    {%- if not open or add_generation_prompt -%}{{- format.assistant -}}{%- endif -%}
  {%- endif -%}
{%- endmacro -%}

{%- macro write_answer() -%}
  {%- if said.answer or not format.edges -%}
    {{- format.answer + said.answer -}}
    {%- if format.closes -%}{{- @END@ -}}{%- endif -%}
  {%- endif -%}
{%- endmacro -%}

{%- macro joined(before, after) -%}
  {{- before -}}{%- if before and after -%}{{- "\\n" -}}{%- endif -%}{{- after -}}
{%- endmacro -%}

{{- @BEGIN@ -}}
{%- for pass in ["system", "turns"] -%}
  {%- if pass == "turns" -%}
    {%- set system = format.system if said.system is none else said.system -%}
    {%- if system or format.edges -%}{{- system + format.system_end -}}{%- endif -%}
  {%- endif -%}
  {%- for message in messages -%}
    {%- if (message["role"] in ["system", "developer"]) == (pass == "system") -%}
      {#- read the message: its texts, and how many images it has -#}
      {%- set said.text = "" -%}
      {%- set said.parts = 0 -%}
      {%- if message["content"] is string -%}
        {%- set said.text = message["content"] -%}
      {%- elif message["content"] -%}
        {%- for part in message["content"] -%}
          {%- if part["type"] in ["text", "input_text", "output_text", "refusal"] -%}
            {%- set said.text = joined(said.text, part["text"] | default(part["refusal"], true)) -%}
          {%- elif "image" in part["type"] -%}
            {%- set said.parts = said.parts + 1 -%}
          {%- else -%}
            {{- raise_exception("a part that is neither text nor image") -}}
          {%- endif -%}
        {%- endfor -%}
      {%- endif -%}
      {%- for token in @SPECIAL@ -%}
        {%- if token in said.text -%}
          {{- raise_exception("the text contains " + token + ", which this route cannot tell from the token itself; "
              "the token-in route /inference/v1/generate can") -}}
        {%- endif -%}
      {%- endfor -%}
      {%- for escape in escapes -%}
        {%- set said.text = said.text | replace(escape[0], escape[1]) -%}
      {%- endfor -%}
      {#- add it to the turns -#}
      {%- if pass == "system" -%}
        {%- if said.parts -%}{{- raise_exception("an image in a system message") -}}{%- endif -%}
        {%- set said.system = said.text if said.system is none else said.system + "\\n" + said.text -%}
      {%- elif message["role"] in ["user", "tool"] -%}
        {%- if message["role"] == "tool" and not said.text | trim and not said.parts -%}
          {%- set said.text = @NO_OUTPUT@ -%}
        {%- endif -%}
        {%- if said.side == "assistant" -%}
          {{- write_answer() -}}
          {%- set said.turns = said.turns + 1 -%}
          {%- set said.question = "" -%}
          {%- set said.images = 0 -%}
        {%- endif -%}
        {%- set said.question = joined(said.question, said.text) -%}
        {%- set said.images = said.images + said.parts -%}
        {%- set said.side = "user" -%}
      {%- elif message["role"] == "assistant" -%}
        {%- if message["tool_calls"] -%}
          {{- raise_exception("tool_calls in an answer; expected them as its text") -}}
        {%- elif said.parts -%}
          {{- raise_exception("an image in an answer") -}}
        {%- endif -%}
        {%- if said.side == "assistant" -%}
          {%- set said.answer = said.answer + "\\n" + said.text -%}
        {%- else -%}
          {{- write_question(false) -}}
          {%- set said.answer = said.text -%}
        {%- endif -%}
        {%- set said.side = "assistant" -%}
      {%- else -%}
        {{- raise_exception("unknown role; expected system, user, assistant or tool") -}}
      {%- endif -%}
    {%- endif -%}
  {%- endfor -%}
{%- endfor -%}
{%- if said.side == "assistant" -%}
  {{- write_answer() -}}
  {%- if add_generation_prompt -%}
    {%- set said.turns = said.turns + 1 -%}
    {%- set said.question = @CONTINUE@ -%}
    {%- set said.images = 0 -%}
    {{- write_question(true) -}}
  {%- endif -%}
{%- elif said.side == "user" -%}
  {{- write_question(true) -}}
{%- else -%}
  {{- raise_exception("a conversation without a question; expected at least one user message") -}}
{%- endif -%}
"""
"""No text of a conversation passes a filter that changes it. The loop over `message["content"]` is what vLLM looks for
to decide that a template takes parts (`_detect_content_format`)."""


def write_chat_template(default: PromptFormatName, begin: str, special_tokens: Sequence[str]) -> str:
    """Write the chat template of an exported checkpoint.

    It renders what `PromptFormat.render` does, behind the token that begins a prompt, and refuses what a template
    cannot say rightly: a special token that a user typed.

    Args:
        default: the format where a request names none.
        begin: the token that begins a prompt, such as `<s>`; may be empty.
        special_tokens: the tokenizer's special tokens.
    """
    values: dict[str, str] = {
        "NAMES": ", ".join(FORMATS),
        "DEFAULT": _literal(default),
        "FORMATS": "{\n" + "".join(f"  {_literal(name)}: {_format(FORMATS[name])},\n" for name in FORMATS) + "}",
        "IMAGE": _literal(IMAGE_TOKEN),
        "END": _literal(END_TOKEN),
        "BEGIN": _literal(begin),
        "SPECIAL": _literal(sorted({*special_tokens, IMAGE_TOKEN, END_TOKEN})),
        "CONTINUE": _literal(CONTINUE),
        "NO_OUTPUT": _literal(NO_OUTPUT),
    }
    template = _TEMPLATE
    for name, value in values.items():
        template = template.replace(f"@{name}@", value)
    return template


def _format(prompt_format: PromptFormat) -> str:
    fields: Mapping[str, Any] = {
        "system": prompt_format.system,
        "system_end": prompt_format.system_end,
        "user": prompt_format.user,
        "assistant": prompt_format.assistant,
        "answer": prompt_format.answer,
        "closes": prompt_format.closes_answers,
        "edges": prompt_format.edges_of_training,
        "bare": "".join(prompt_format.turn_markers),
        "escapes": [[marker, escape_turn_markers(marker, (marker,))] for marker in prompt_format.turn_markers],
    }
    return _literal(fields)


def _literal(value: Any) -> str:
    """Write a value as Jinja reads it: as JSON, whose literals for text, lists and true are Jinja's too."""
    return json.dumps(value, ensure_ascii=False)
