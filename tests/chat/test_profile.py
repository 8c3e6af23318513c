"""`profile`: what LangChain's middleware reads of a model, known without its weights."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.runnables import ConfigurableField

import langchain_vipllava
from langchain_vipllava import ChatVipLlava
from tests.support.echo import EchoBackend

pytestmark = pytest.mark.skipif(
    "profile" not in ChatVipLlava.model_fields, reason="this langchain-core has no profiles"
)

BUNDLED = Path(langchain_vipllava.__file__).parent / "bundled"
CONTEXT = json.loads((BUNDLED / "config.json").read_text())["text_config"]["max_position_embeddings"]


def test_the_bundled_checkpoints_context_is_that_of_its_config():
    llm = ChatVipLlava(model="bundled")
    assert llm.profile["max_input_tokens"] == llm.profile["max_output_tokens"] == CONTEXT == llm.backend.context_length
    assert llm.profile["text_inputs"] and llm.profile["text_outputs"] and llm.profile["image_inputs"]  # noqa: PT018
    assert not llm.profile["image_outputs"]


@pytest.mark.parametrize(("model", "length"), [("llava-hf/vip-llava-7b-hf", 4096), ("llava-hf/vip-llava-13b-hf", 4096)])
def test_the_published_checkpoints_are_known(model, length):
    assert ChatVipLlava(model=model).profile["max_input_tokens"] == length


def test_a_profile_loads_no_torch():
    code = (
        "import sys; from langchain_vipllava import ChatVipLlava; ChatVipLlava(model='bundled').profile;"
        "print([name for name in ('torch', 'transformers', 'huggingface_hub') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_folder_says_its_own(tmp_path):
    config = {"model_type": "vipllava", "text_config": {"max_position_embeddings": 1234}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert ChatVipLlava(model=str(tmp_path)).profile["max_input_tokens"] == 1234
    (tmp_path / "config.json").write_text('{"text_config": {}}')
    assert ChatVipLlava(model=str(tmp_path)).profile["max_input_tokens"] == 2048  # the default of LlamaConfig
    for damaged in ("{", "[]", '{"text_config": {"max_position_embeddings": "many"}}'):
        (tmp_path / "config.json").write_text(damaged)
        assert "max_input_tokens" not in ChatVipLlava(model=str(tmp_path)).profile


def test_a_checkpoint_in_the_hubs_cache_says_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert "max_input_tokens" not in ChatVipLlava(model="somebody/vip-llava").profile
    repository = tmp_path / "models--somebody--vip-llava"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    shutil.copy(BUNDLED / "config.json", snapshot)
    assert ChatVipLlava(model="somebody/vip-llava").profile["max_input_tokens"] == CONTEXT
    assert "max_input_tokens" not in ChatVipLlava(model="somebody/vip-llava", revision="v2").profile


def test_a_users_profile_completes_and_replaces_ours():
    llm = ChatVipLlava(model="bundled", profile={"max_input_tokens": 500, "name": "mine"})
    assert (llm.profile["max_input_tokens"], llm.profile["name"], llm.profile["image_inputs"]) == (500, "mine", True)
    assert llm.profile["max_output_tokens"] == CONTEXT


@pytest.mark.parametrize(("given", "length"), [(None, 4096), ({"max_input_tokens": 500}, 500)])
def test_another_model_brings_its_own_profile(given, length):
    settings = {} if given is None else {"profile": given}
    llm = ChatVipLlava(model="bundled", **settings)
    either = llm.configurable_fields(model=ConfigurableField(id="model"))
    chosen, _ = either._prepare({"configurable": {"model": "llava-hf/vip-llava-7b-hf"}})
    assert chosen.profile["max_input_tokens"] == length


def test_copies_keep_the_profile():
    llm = ChatVipLlava(model="bundled", profile={"name": "mine"})
    assert llm.model_copy(deep=True).profile == llm.profile
    assert pickle.loads(pickle.dumps(llm.profile)).given == {"name": "mine"}


def test_another_backend_says_its_context_or_nothing():
    assert ChatVipLlava(backend=EchoBackend()).profile["max_input_tokens"] == 10_000

    class Away(EchoBackend):
        @property
        def context_length(self):
            raise OSError("the server is away")

    class Unknown(EchoBackend):
        known_context_length = None

    for backend in (Away(), Unknown()):
        assert "max_input_tokens" not in ChatVipLlava(backend=backend).profile


def test_a_copy_with_another_model_has_its_profile(tiny_checkpoint):
    llm = ChatVipLlava(model="bundled", profile={"tool_calling": False})
    for copied in (llm.model_copy(update={"model": str(tiny_checkpoint)}), llm.model_copy(update={"temperature": 1.0})):
        assert copied.profile == ChatVipLlava(model=copied.model, profile={"tool_calling": False}).profile
    assert llm.model_copy(update={"model": str(tiny_checkpoint)}).profile != llm.profile
