"""The settings of a call: read once, and answered with the name that is meant."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from types import SimpleNamespace

import pytest
from langchain_core.messages import HumanMessage

from langchain_vipllava import ChatVipLlava, GenerationError, PromptError, VipLlavaError
from langchain_vipllava.chat.settings import LOADING, CallSettings
from langchain_vipllava.protocol.load_options import LoadOptions

MEANT = {
    "model_name": ("x", "model=..."),
    "torch_dtype": ("float16", "dtype=..."),
    "load_in_4bit": (True, "quantization='4bit'"),
    "load_in_8bit": (True, "quantization='8bit'"),
    "model_kwargs": ({"torch_dtype": "auto"}, "arguments of their own"),
    "max_new_tokens": (5, "max_tokens=..."),
    "do_sample": (True, "temperature=0"),
    "stop_sequences": (["x"], "stop="),
    "request_timeout": (3, "timeout=..."),
}


@pytest.mark.parametrize("name", MEANT)
def test_an_argument_of_another_package_is_answered_with_ours(name):
    value, ours = MEANT[name]
    with pytest.raises(VipLlavaError) as caught:
        ChatVipLlava(**{"model": "bundled", name: value})
    assert name in str(caught.value)
    assert ours in str(caught.value)


@pytest.mark.parametrize("name", ["max_new_tokens", "do_sample", "stop_sequences"])
def test_a_setting_of_another_package_in_a_call_is_answered_with_ours(llm, name):
    value, ours = MEANT[name]
    with pytest.raises(GenerationError) as caught:
        llm.invoke("Hi", **{name: value})
    assert ours in str(caught.value)


def test_a_subclass_may_have_such_a_field():
    class Named(ChatVipLlava):
        model_name: str = "x"

    assert Named(model="bundled", model_name="y").model_name == "y"


def test_a_call_is_read_once(llm, monkeypatch):
    read = []
    original = CallSettings.read.__func__
    monkeypatch.setattr(CallSettings, "read", classmethod(lambda cls, *args: read.append(args) or original(cls, *args)))
    llm.invoke([HumanMessage("Hi")], temperature=0.5, seed=3)
    assert len(read) == 1
    list(llm.stream([HumanMessage("Hi")]))
    assert len(read) == 2


def test_settings_are_frozen_and_leave_the_arguments_alone(llm):
    kwargs = {"model": "another", "temperature": 1.0}
    settings = CallSettings.read(llm, None, kwargs)
    assert kwargs == {"model": "another", "temperature": 1.0}
    assert (settings.model, settings.sampling.temperature) == ("another", 1.0)
    with pytest.raises(FrozenInstanceError):
        settings.max_tokens = 3


def test_the_loading_fields_are_those_of_load_options():
    assert tuple(field.name for field in fields(LoadOptions)) == LOADING
    assert set(LOADING) <= set(ChatVipLlava.model_fields)


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("prompt_format", "llava", PromptError),
        ("multi_image", "kep", PromptError),
        ("image_fit", "stretch", GenerationError),
        ("max_tokens", 0, GenerationError),
        ("stop", [""], GenerationError),
    ],
)
def test_a_wrong_value_is_refused_at_construction_and_in_a_call(llm, name, value, error):
    with pytest.raises(error):
        ChatVipLlava(**{"model": "bundled", name: value})
    with pytest.raises(error):
        llm.invoke("Hi", **{name: value})


def test_the_backend_in_use_follows_the_model():
    given = SimpleNamespace(name="echo", cache_key="echo")
    chat = ChatVipLlava(backend=given)
    assert chat.model == "echo"
    assert chat.backend is given
    assert chat.model_copy(update={"temperature": 1.0}).backend is given
    other = chat.model_copy(update={"model": "bundled"})
    assert other.backend is not given
    assert other.backend.name == "bundled"
