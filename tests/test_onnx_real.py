"""Models of public packages, where these are installed (`pip install silero-vad --no-deps`), beside ONNX Runtime."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import fastrnn

onnxruntime = pytest.importorskip("onnxruntime")
SPEC = importlib.util.find_spec("silero_vad")
FILES = sorted(Path(SPEC.origin).parent.rglob("*.onnx")) if SPEC and SPEC.origin else []
pytestmark = pytest.mark.skipif(not FILES, reason="needs the package silero-vad")


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_silero_streams_with_its_state_as_onnxruntime_does(path):
    model = fastrnn.from_onnx(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    rates = (16000, 8000) if "sr" in model.inputs else (16000,)
    for rate in rates:
        stream, rng = model.stream(), np.random.default_rng(rate)
        state, samples = stream.state, 576 * rate // 16000
        for k in range(50):
            sound = np.sin(np.arange(samples) * (0.01 + 0.002 * k)) * rng.random() + 0.05 * rng.standard_normal(samples)
            feeds = {"input": sound[None].astype("f")}
            if "sr" in model.inputs:
                feeds["sr"] = np.array(rate)
            found = stream.step(feeds)
            theirs = dict(zip(model.outputs, session.run(None, {**feeds, **state})))
            state = {name: theirs[output] for name, output in stream.states.items()}
            for name, array in {**found, **{stream.states[one]: array for one, array in stream.state.items()}}.items():
                np.testing.assert_allclose(array, theirs[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_silero_layers(path):
    layers = fastrnn.onnx_layers(path)
    assert all((layer.kind, layer.input_size, layer.hidden_size) == ("LSTM", 128, 128) for layer in layers.values())
    assert layers or "ifless" in path.name     # whose cell is made of single products
