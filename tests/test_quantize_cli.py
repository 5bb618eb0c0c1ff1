"""`fastrnn quantize`: files, reports, refusals."""

import re

import numpy as np
import pytest

import fastrnn
from fastrnn.cli.command import main

TEXT = "the cat sat on the mat and the dog sat on the log. " * 40


@pytest.fixture
def characters(tmp_path):
    model = fastrnn.CharModel("".join(sorted(set(TEXT))), hidden_size=48, embedding_dim=12, seed=1)
    fastrnn.save(model, tmp_path / "m.safetensors")
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


@pytest.mark.parametrize("weight_format", ["int8", "bf16"])
def test_a_character_model_is_written_with_a_report(characters, capsys, weight_format):
    source = str(characters / "m.safetensors")
    assert main(["quantize", source, "--format", weight_format, "--calibrate", str(characters / "text.txt"), "--report",
                 "--max-loss", "5"]) == 0
    said = capsys.readouterr().out
    out = characters / f"m-{weight_format}.safetensors"
    made, model = fastrnn.load(out), fastrnn.load(source)
    assert made.weight_format == "float" and made.modules[1].weight_format == weight_format
    assert out.stat().st_size < (characters / "m.safetensors").stat().st_size * 0.6
    before, after = map(float, re.search(r"bits per character: ([\d.]+) before, ([\d.]+) after", said).groups())
    x = model.encode(TEXT)[:, None]
    for one, told in (model, before), (made, after):
        logits = one(x)[0][:-1, 0].astype(float)
        likelihood = logits[np.arange(len(x) - 1), x[1:, 0]] - np.log(np.exp(logits).sum(1))
        assert abs(-likelihood.mean() / np.log(2) - told) < 2e-3
    error = float(re.search(r"worst error ([\d.e-]+)", said)[1])
    assert error == pytest.approx(np.abs(made(x[:2000])[0] - model(x[:2000])[0]).max(), rel=0.01)
    assert "times as fast" in said and str(out) in said


def test_other_models_are_compared_on_inputs(tmp_path, capsys):
    net = fastrnn.Sequential(fastrnn.LSTM(3, 20, seed=1), fastrnn.Linear(20, 2, seed=2), batch_first=True)
    fastrnn.save(net, tmp_path / "net")
    x = np.random.default_rng(0).standard_normal((4, 9, 3)).astype("f")
    np.save(tmp_path / "x.npy", x)
    arguments = ["quantize", str(tmp_path / "net"), "--out", str(tmp_path / "small"), "--calibrate",
                 str(tmp_path / "x.npy")]
    assert main([*arguments, "--report", "--max-loss", "10"]) == 0
    assert "outputs: worst error" in capsys.readouterr().out
    y = fastrnn.load(tmp_path / "small")(x)[0]
    assert 0 < np.abs(y - net(x)[0]).max() < 0.05
    (tmp_path / "small").unlink()
    assert main([*arguments, "--max-loss", "0.0001"]) == 2
    assert re.search(r"--max-loss: expected a loss of at most 0.0001 %, found [\d.]+ %", capsys.readouterr().err)
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize(("options", "message"), [
    (["--report"], "--calibrate: expected data to compare on"), (["--max-loss", "1"], "--calibrate: expected data"),
    (["--calibrate", "missing.txt"], "missing.txt: no such file"),
])
def test_what_is_missing_is_told(characters, capsys, monkeypatch, options, message):
    monkeypatch.chdir(characters)
    assert main(["quantize", "m.safetensors", *options]) == 2
    assert message in capsys.readouterr().err
    assert not (characters / "m-int8.safetensors").exists()


def test_a_quantized_model_is_refused(characters, capsys):
    assert main(["quantize", str(characters / "m.safetensors")]) == 0
    assert main(["quantize", str(characters / "m-int8.safetensors")]) == 2
    assert "model: expected float weights, found int8 ones" in capsys.readouterr().err


def test_an_empty_file_of_inputs_is_refused(tmp_path, capsys):
    fastrnn.save(fastrnn.Linear(3, 2), tmp_path / "net")
    (tmp_path / "x.npy").touch()
    assert main(["quantize", str(tmp_path / "net"), "--calibrate", str(tmp_path / "x.npy"), "--report"]) == 2
    assert "x.npy: expected an .npy file, found an empty one" in capsys.readouterr().err
