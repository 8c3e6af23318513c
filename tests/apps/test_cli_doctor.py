"""`langchain-vipllava doctor`."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.command_line import run, run_process


def test_doctor_prints_what_would_run(tiny_checkpoint):
    result = run("doctor", "-m", tiny_checkpoint)
    assert result.returncode == 0, result.stderr
    for word in ("torch", "float32", "sdpa", "56 px square, 16 tokens", "fits"):
        assert word in result.stdout


def test_doctor_reports_a_checkpoint_that_is_not_vipllava(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    result = run("doctor", "-m", tmp_path)
    assert result.returncode == 1
    assert "expected 'vipllava'" in result.stdout


def test_doctor_reports_missing_memory(tmp_path):
    from tests.support.checkpoints import FEATURE_LAYERS

    text = {"model_type": "llama", "hidden_size": 65536, "intermediate_size": 262144, "num_hidden_layers": 120}
    config = {"model_type": "vipllava", "vision_feature_layers": FEATURE_LAYERS, "text_config": text}
    (tmp_path / "config.json").write_text(json.dumps(config))
    result = run("doctor", "-m", tmp_path)
    assert result.returncode == 1
    assert "are missing" in result.stdout


def test_doctor_prints_the_documented_memory_of_the_7b(tmp_path):
    output = run("doctor", "-m", seven_billion(tmp_path), "--dtype", "float16").stdout
    for figure in ("13.2 GiB", "2.0 GiB", "4,096 tokens", "336 px square, 576 tokens"):
        assert figure in output
    assert "MiB" not in output


def test_doctor_estimates_published_checkpoints_without_the_hub():
    result = run_process("doctor", "-m", "llava-hf/vip-llava-7b-hf", "--dtype", "float16")
    assert result.returncode == 1
    assert "13.2 GiB" in result.stdout
    assert "checkpoint itself is missing" in result.stdout


def test_doctor_rejects_unknown_and_unavailable_attention():
    for name, expected in (("nonsense", "expected one of"), ("flash_attention_2", "needs a CUDA GPU")):
        result = run("doctor", "--attention", name)
        assert result.returncode == 1
        assert expected in result.stdout
        assert f"--attention {name}" in result.stdout


def seven_billion(folder):
    """Write the configuration of the 7B, and return its folder."""
    from transformers import VipLlavaConfig

    text = {"model_type": "llama", "vocab_size": 32064, "max_position_embeddings": 4096}
    (folder / "config.json").write_text(json.dumps(VipLlavaConfig(text_config=text).to_dict()))
    return folder


def test_doctor_shows_the_ways_in_which_a_checkpoint_would_fit(tmp_path):
    folder = seven_billion(tmp_path)
    record = json.loads(run("doctor", "-m", folder, "--json").stdout)
    needs = {way["options"]: way["needs_gib"] for way in record["ways"]}
    assert needs["--device cpu --dtype float32"] == pytest.approx(30.4, abs=0.1)
    assert needs["--device cpu --dtype bfloat16"] == pytest.approx(15.2, abs=0.1)
    assert next(needs[way] for way in needs if way.endswith("4bit")) == pytest.approx(6.3, abs=0.1)
    for way in record["ways"]:
        assert way["fits"] == (way["needs_gib"] <= way["free_gib"] and way["missing"] is None)
    assert record["fits"] == (record["weights_gib"] + record["kv_cache_gib"] <= record["free_gib"])
    text = run("doctor", "-m", folder).stdout
    for way, size in needs.items():
        assert re.search(rf"{way} +{size:.1f} GiB", text)
    timed = [way["seconds"] for way in record["ways"] if way["options"].startswith("--device cpu --dtype")]
    assert all(0.1 < seconds < 10_000 for seconds in timed)


AMX = {"float32": 7.0, "float16": 6.5, "bfloat16": 1.1, "8bit": 1.8, "4bit": 13.0}  # measured on a Xeon with AMX
BF16 = {**AMX, "8bit": 9.0}  # with slow products of 8 bits
VNNI = {"float32": 7.0, "float16": 7.2, "bfloat16": 12.0, "8bit": 2.8, "4bit": 13.0}  # on one without
AVX2 = {"float32": 7.0, "float16": 63.0, "bfloat16": 64.0, "8bit": 10.0, "4bit": 90.0}


def pretend(monkeypatch, free, picoseconds, flags=()):
    """Examine a 7B on another machine; fakes, because this one has one size and one CPU, and bitsandbytes or not."""
    from langchain_vipllava.apps.cli import report, ways
    from langchain_vipllava.engine import dtype_choice
    from langchain_vipllava.engine.product_speed import ProductSpeed

    bytes_read = {"float32": 4, "bfloat16": 2, "float16": 2, "8bit": 1 if picoseconds is not AVX2 else 40, "4bit": 0.6}
    for module in (report, ways):
        monkeypatch.setattr(module, "free_bytes", lambda device: free * 2**30)
        monkeypatch.setattr(module, "is_installed", lambda package: True)
        monkeypatch.setattr(module, "available_devices", lambda: ["cpu"])
    monkeypatch.setattr(dtype_choice, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(ways, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr(
        dtype_choice,
        "measure_product",
        lambda kind: ProductSpeed(token=bytes_read[kind] / 30e9, prompt_token=picoseconds[kind] * 1e-12),
    )


def examine(folder, **options):
    from langchain_vipllava.apps.cli import report
    from langchain_vipllava.protocol.load_options import LoadOptions

    return report.examine(LoadOptions(str(seven_billion(folder)), device="cpu", **options))


def test_doctor_names_the_dtype_that_fits_where_the_given_one_does_not(monkeypatch, tmp_path):
    pretend(monkeypatch, 20, VNNI)
    found = examine(tmp_path, dtype="float32")
    assert not found.runs
    assert "It would fit with: --device cpu --dtype bfloat16; --device cpu --dtype float16; --device cpu --qu" in (
        found.text()
    )
    pretend(monkeypatch, 5, VNNI)
    words = "It fits in no way on this machine: 1.3 GiB are missing in the smallest (--device cpu --quantization 4bit)"
    assert words in examine(tmp_path).text()
    assert examine(tmp_path).recommended is None


def test_doctor_says_which_dtype_auto_is_on_this_cpu(monkeypatch, tmp_path):
    pretend(monkeypatch, 20, AMX, ["amx_bf16"])
    found = examine(tmp_path)
    assert found.runs
    assert found.plan["dtype"] == (
        "bfloat16, which this CPU calculates in: an answer of a 7B would take 32 s, in float16 53 s; "
        "float32 needs 30.4 GiB of 20.0 GiB free"
    )
    assert found.estimate.weights / 2**30 == pytest.approx(13.2, abs=0.05)
    pretend(monkeypatch, 40, AMX)
    assert examine(tmp_path).plan["dtype"] == "float32"


@pytest.mark.parametrize(
    ("free", "picoseconds", "flags", "options", "words"),
    [
        (40, VNNI, ["avx512_vnni"], "--quantization 8bit", "9.2 GiB of 40.0 GiB free; an answer of 64 tokens to a pr"),
        (20, VNNI, ["avx512_vnni"], "--quantization 8bit", "--device cpu --dtype float32 82 s and does not fit"),
        (20, AMX, ["amx_bf16", "x87"], "--quantization 8bit", "the CPU has amx_bf16)"),
        (20, BF16, ["amx_bf16"], "--dtype bfloat16", "takes about 32 s; --device cpu --dtype float32 82 s and"),
        (12, AMX, ["amx_bf16"], "--quantization 8bit", "takes about 21 s"),
        (40, AVX2, ["avx2"], "--dtype float32", "takes about 82 s (by products measured here; the CPU has avx2)"),
        (8, VNNI, [], "--quantization 4bit", "the CPU has none of the flags"),
    ],
)
def test_doctor_recommends_by_memory_and_by_measured_speed(
    monkeypatch, tmp_path, free, picoseconds, flags, options, words
):
    pretend(monkeypatch, free, picoseconds, flags)
    found = examine(tmp_path)
    assert found.recommended.options == f"--device cpu {options}"
    assert words in found.recommended.reason
    assert f"Recommended\n  --device cpu {options}  " in found.text()
    assert found.record()["recommended"] == {
        "options": found.recommended.options, "reason": found.recommended.reason,
    }  # fmt: skip


def test_doctor_recommends_float32_for_a_small_checkpoint_without_measuring(monkeypatch, tiny_checkpoint):
    from langchain_vipllava.apps.cli import report
    from langchain_vipllava.engine import dtype_choice
    from langchain_vipllava.protocol.load_options import LoadOptions

    monkeypatch.setattr(dtype_choice, "measure_product", lambda kind: pytest.fail("measured"))
    found = report.examine(LoadOptions(str(tiny_checkpoint), device="cpu"))
    assert found.recommended.options == "--device cpu --dtype float32"
    assert all(way.seconds is None for way in found.ways)


@pytest.mark.parametrize(
    ("model", "chosen", "row"),
    [
        ("bundled", "user_assistant", "user_assistant, with which the weights were trained"),
        ("bundled", "llava_v1", "weights were trained with user_assistant: --prompt-format user_assistant"),
        (
            "llava-hf/vip-llava-7b-hf",
            "user_assistant",
            "weights were trained with llava_v1: --prompt-format llava_v1",
        ),
        ("llava-hf/vip-llava-13b-hf", "llava_v1", "llava_v1, with which the weights were trained"),
        (None, "user_assistant", "that of the training is not known (published 7B and 13B: llava_v1)"),
    ],
)
def test_doctor_says_with_which_prompt_format_a_checkpoint_was_trained(tiny_checkpoint, model, chosen, row):
    from langchain_vipllava.apps.cli import report
    from langchain_vipllava.protocol.load_options import LoadOptions

    found = report.examine(LoadOptions(model or str(tiny_checkpoint), local_files_only=True), chosen)
    assert re.search(rf"prompt format +.*{re.escape(row)}", found.text())
    assert row in found.record()["prompt format"]


def test_an_unknown_prompt_format_is_named_as_an_option():
    result = run("doctor", "--prompt-format", "chatml")
    assert result.returncode == 1
    assert "--prompt-format chatml; expected one of user_assistant, llava_v1, human_assistant" in result.stderr
