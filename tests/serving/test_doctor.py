"""`doctor --base-url`: what a server is, and what it lacks."""

from __future__ import annotations

import json
import socket

import pytest
from transformers import AutoProcessor

from langchain_vipllava.engine.loading import load_processor
from langchain_vipllava.protocol.load_options import LoadOptions
from tests.support.command_line import run
from tests.support.prompt_server import PromptServer, running


@pytest.fixture(scope="module")
def processor(exported):
    return AutoProcessor.from_pretrained(exported, local_files_only=True)


def examine(server, *options):
    with running(server) as url:
        result = run("doctor", "--base-url", url, *options, "--json")
    record = json.loads(result.stdout)
    assert result.returncode == (0 if record["runs"] else 1)
    return record, {check["name"]: check for check in record["checks"]}


def test_an_exported_checkpoint_is_right_in_everything(processor):
    record, checks = examine(PromptServer(processor))
    assert record["runs"]
    assert (record["version"], record["model"], record["context"]) == ("0.32.0", "shapes", 809)
    assert len(checks) == 6
    assert all(check["ok"] and check["remedy"] is None for check in checks.values())


@pytest.mark.parametrize(
    ("fault", "check", "remedy"),
    [
        ("no tokens route", "token-in route", "--enable-scale-out"),
        ("other grammar", "structured output", '--structured-outputs-config \'{"backend":"guidance"}\''),
        ("fetches", "media", "--allowed-media-domains"),
    ],
)
def test_what_is_missing_is_named_with_the_option_that_helps(processor, fault, check, remedy):
    record, checks = examine(PromptServer(processor, faults=(fault,)))
    assert record["runs"]
    assert [name for name, one in checks.items() if not one["ok"]] == [check]
    assert remedy in checks[check]["remedy"]


def test_a_template_without_the_begin_token_is_found(processor):
    template = processor.chat_template.replace('{{- "<s>" -}}', "")
    record, checks = examine(PromptServer(processor, template, ("no tokens route",)))
    assert not checks["chat template"]["ok"]
    assert "export" in checks["chat template"]["remedy"]
    assert not record["runs"]
    assert record["problem"] == "neither route reads prompts rightly"


def test_a_template_that_knows_one_format_is_right_in_that_one(processor):
    template = processor.chat_template.replace('prompt_format | default("user_assistant", true)', '"llava_v1"')
    assert template != processor.chat_template
    _, checks = examine(PromptServer(processor, template))
    found = checks["chat template"]["found"]
    assert "other prompts in user_assistant, human_assistant" in found
    assert "right in llava_v1" in found


def test_the_bundled_folder_as_it_is_is_found_wrong():
    processor = load_processor(LoadOptions("bundled"))
    record, checks = examine(PromptServer(processor))
    wrong = {name for name, check in checks.items() if not check["ok"]}
    assert wrong == {"chat template", "tokenizer", "typed tokens"}
    assert record["runs"]  # by the token-in route


def test_a_key_is_asked_for_sent_and_never_shown(processor, monkeypatch):
    server = PromptServer(processor, faults=("closed",))
    monkeypatch.delenv("VIPLLAVA_API_KEY", raising=False)
    record, _ = examine(server)
    assert not record["runs"]
    assert "VIPLLAVA_API_KEY" in record["problem"]
    monkeypatch.setenv("VIPLLAVA_API_KEY", "s3cret")
    record, _ = examine(server)
    assert record["runs"]
    assert "s3cret" not in json.dumps(record)


def test_another_model_is_named(processor):
    record, _ = examine(PromptServer(processor), "--model", "seven")
    assert record["problem"] == "it does not serve 'seven', but shapes"


def test_control_characters_of_a_server_are_escaped(processor):
    record, _ = examine(PromptServer(processor, faults=("hostile",)))
    assert record["version"] == "0.32.0\\x1b[31m"


def test_nobody_there_and_no_address_are_errors_in_words():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    result = run("doctor", "--base-url", url)
    assert result.returncode == 1
    assert f"It cannot be used: cannot ask {url}" in result.stdout
    for address in ("gpu-host:8000", "http://me:secret@host", "http://host?x=1", "ftp://host"):
        result = run("doctor", "--base-url", address)
        assert result.returncode == 1
        assert "expected the address of a server, such as 'http://gpu-host:8000/v1'" in result.stderr
        assert "secret" not in result.stderr


def test_the_text_has_a_line_for_each_check(processor):
    with running(PromptServer(processor, faults=("fetches",))) as url:
        text = run("doctor", "--base-url", url).stdout
    assert text.splitlines()[0] == f"The server {url}"
    assert text.count("  yes  ") == 5
    assert "no   the server fetches images by URL" in text
    assert "--allowed-media-domains none.invalid" in text


def test_several_servers_are_examined_one_after_the_other(processor):
    with running(PromptServer(processor)) as right, running(PromptServer(processor, faults=("closed",))) as closed:
        result = run("doctor", "--base-url", right, "--base-url", closed, "--json")
    assert [json.loads(line)["runs"] for line in result.stdout.splitlines()] == [True, False]
    assert result.returncode == 1
