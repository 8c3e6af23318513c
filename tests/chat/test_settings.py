"""Settings of a call: read once; names of other packages raise errors with the name used here."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from types import SimpleNamespace

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField

from langchain_vipllava import ChatVipLlava, CheckpointError, GenerationError, PromptError, VipLlavaError
from langchain_vipllava.chat.settings import LOADING, CallSettings
from langchain_vipllava.protocol.load_options import LoadOptions

OUR_NAMES = {
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


@pytest.mark.parametrize("name", OUR_NAMES)
def test_an_argument_name_of_another_package_raises_with_our_name(name):
    value, our_name = OUR_NAMES[name]
    with pytest.raises(VipLlavaError) as caught:
        ChatVipLlava(**{"model": "bundled", name: value})
    assert name in str(caught.value)
    assert our_name in str(caught.value)


@pytest.mark.parametrize("name", ["max_new_tokens", "do_sample", "stop_sequences"])
def test_a_call_setting_of_another_package_raises_with_our_name(llm, name):
    value, our_name = OUR_NAMES[name]
    with pytest.raises(GenerationError) as caught:
        llm.invoke("Hi", **{name: value})
    assert our_name in str(caught.value)


def test_a_subclass_may_define_a_field_with_such_a_name():
    class Named(ChatVipLlava):
        model_name: str = "x"

    assert Named(model="bundled", model_name="y").model_name == "y"


def test_the_settings_of_a_call_are_read_once(llm, monkeypatch):
    calls = []
    original = CallSettings.read.__func__
    monkeypatch.setattr(
        CallSettings, "read", classmethod(lambda cls, *args: calls.append(args) or original(cls, *args))
    )
    llm.invoke([HumanMessage("Hi")], temperature=0.5, seed=3)
    assert len(calls) == 1
    list(llm.stream([HumanMessage("Hi")]))
    assert len(calls) == 2


def test_settings_are_frozen_and_do_not_change_the_arguments(llm):
    kwargs = {"model": "another", "temperature": 1.0}
    settings = CallSettings.read(llm, None, kwargs)
    assert kwargs == {"model": "another", "temperature": 1.0}
    assert (settings.model, settings.template.sampling.temperature) == ("another", 1.0)
    with pytest.raises(FrozenInstanceError):
        settings.max_tokens = 3


def test_loading_fields_equal_the_fields_of_load_options():
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
def test_an_invalid_value_raises_at_construction_and_in_a_call(llm, name, value, error):
    with pytest.raises(error):
        ChatVipLlava(**{"model": "bundled", name: value})
    with pytest.raises(error):
        llm.invoke("Hi", **{name: value})


def test_copies_keep_the_backend_that_was_passed():
    backend = SimpleNamespace(name="echo", cache_key="echo", generate=None)
    chat = ChatVipLlava(backend=backend)
    assert chat.model == "echo"
    assert chat.backend is backend
    assert chat.model_copy(update={"temperature": 1.0}).backend is backend
    configurable = chat.configurable_fields(temperature=ConfigurableField("t"))
    assert configurable.with_config(configurable={"t": 0.5})._prepare()[0].backend is backend


def test_a_model_that_is_not_the_backend_s_raises(llm):
    chat = ChatVipLlava(backend=SimpleNamespace(name="echo", cache_key="echo", generate=None))
    for use in (
        lambda: ChatVipLlava(backend=chat.backend, model="bundled"),
        lambda: chat.model_copy(update={"model": "bundled"}).backend,
        lambda: chat.invoke("Hi", model="llava-hf/vip-llava-7b-hf"),
    ):
        with pytest.raises(CheckpointError, match="backend that was passed is 'echo'"):
            use()


def test_loading_arguments_beside_a_backend_raise():
    backend = SimpleNamespace(name="echo", cache_key="echo", generate=None)
    with pytest.raises(CheckpointError, match="dtype, quantization beside backend="):
        ChatVipLlava(backend=backend, dtype="float16", quantization="4bit")
    with pytest.raises(CheckpointError, match="backend is a str"):
        ChatVipLlava(backend="http://localhost:8000/v1")


def test_none_in_a_call_means_the_model_s_own(llm):
    short = llm.model_copy(update={"max_tokens": 3, "temperature": 1.0, "seed": 5})
    assert short.invoke("Hi", max_tokens=None, temperature=None).text == short.invoke("Hi").text


def test_a_wrong_setting_is_refused_when_tools_are_bound(llm):
    with pytest.raises(GenerationError, match="temprature"):
        llm.bind_tools([{"name": "f"}], temprature=2)


def test_equal_options_are_equal_backends(llm):
    assert llm.backend == llm.backend == llm.model_copy(update={"temperature": 1.0}).backend
    assert llm.backend != llm.model_copy(update={"dtype": "bfloat16"}).backend


@pytest.mark.parametrize(
    ("name", "error_text"), [("", "no model"), ("Bundled", "'bundled'"), ("bundled ", "'bundled'")]
)
def test_a_misspelt_name_of_the_bundled_checkpoint_is_refused(name, error_text):
    with pytest.raises(CheckpointError, match=error_text):
        ChatVipLlava(model=name)
    with pytest.raises(CheckpointError, match=error_text):
        ChatVipLlava(model="bundled").invoke("Hi.", model=name)
