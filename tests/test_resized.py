"""Arrays whose memory is resized between forward and backward: each is a process of its own, as a miss is a crash."""

import os
import subprocess
import sys

import pytest

START = """
import numpy as np
from fastrnn import GRU, Linear, Seq2Seq, Sequential
from fastrnn.engine.loops._attention import AttentionWeights
from fastrnn.engine.loops._decoder import Decoder

def resized(*arrays):
    for array in arrays:
        array.resize((1,) * array.ndim, refcheck=False)
    kept.extend(np.full(30000, 9, "f") for _ in range(300))     # over what the arrays have left

def refused(name, call, *arguments):
    try:
        call(*arguments)
    except ValueError as error:
        assert str(error).startswith(name), error
    else:
        raise AssertionError("no error")

kept = []
x, ones = np.ones((4, 300, 256), "f"), lambda *shape: np.ones(shape, "f")
"""

LINEAR = """
layer = Linear(256, 64, seed=0)
y, _, tape = layer.forward(x)
resized(x)
refused("tape:", layer.backward, tape, np.ones_like(y))
assert not layer.grads["weight"].any()
"""

SEQUENTIAL = """
model = Sequential(Linear(256, 64, seed=0), Linear(64, 3, seed=0))
y, _, tape = model.forward(x)
resized(x)
refused("tape:", model.backward, tape, np.ones_like(y))
assert not any(grad.any() for grad in model.grads.values())
"""

SEQ2SEQ = """
model = Seq2Seq(256, 7, source="features", hidden_size=16, embedding_dim=8, attention={attention!r}, seed=0)
y, _, tape = model.forward(x, target=[np.array([2, 3, 4])] * 4)
resized(x)
refused("tape:", model.backward, tape, np.ones_like(y))
assert not any(grad.any() for grad in model.grads.values())
"""

DECODER = """
params = {"weight_query": ones(16, 8), "score": ones(16)}
grads = {name: np.zeros_like(array) for name, array in params.items()}
attention = AttentionWeights(params, grads, 8, 16, 256, 4)
decoder = Decoder(GRU(5, 8)._watched, attention, False)
values, keys = ones(3, 200, 256), ones(3, 200, 16)
tape = decoder.forward(ones(6, 5), np.array([2, 2, 2]), (values, keys, np.array([200] * 3), None), ones(1, 3, 8), None,
                       ones(6, 8), ones(6, 256), None, ones(1, 3, 8), None)
rest = ones(6, 8), None, ones(6, 5), None, None, ones(3, 200, 256), ones(3, 200, 16)
"""

CASES = {
    "Linear": LINEAR,
    "Sequential": SEQUENTIAL,
    "Seq2Seq, additive": SEQ2SEQ.format(attention="additive"),
    "Seq2Seq, general": SEQ2SEQ.format(attention="general"),
    "Decoder, values": DECODER + 'resized(values); refused("memory: values:", decoder.backward, tape, *rest)',
    "Decoder, keys": DECODER + 'resized(keys); refused("memory: keys:", decoder.backward, tape, *rest)',
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_tape_refers_to_is_found_when_it_was_resized(name):
    done = subprocess.run([sys.executable, "-c", START + CASES[name]], capture_output=True, text=True, timeout=60,
                          check=False, env={**os.environ, "MALLOC_PERTURB_": "165"})
    assert done.returncode == 0, f"{done.returncode}: {done.stderr}"


def test_views_of_all_kinds_are_taken():
    code = START + """
layer = Linear(256, 64, bias=False, seed=0)
expected = layer.forward(x)[0]
padded = np.ones((4, 302, 258), "f")
for view in x[...], x[::-1], x.reshape(8, 150, 256).reshape(x.shape), padded[::1, 1:301, 2:], \\
        np.broadcast_to(x[0, 0], x.shape), np.lib.stride_tricks.as_strided(x, x.shape, x.strides), \\
        np.frombuffer(x.tobytes(), "f").reshape(x.shape), x[:0]:
    y, _, tape = layer.forward(view)
    assert np.array_equal(y, expected[:len(view)])
    layer.backward(tape, np.ones_like(y))
for view in x[..., :5], x[::2, ::-1, :5], np.broadcast_to(x[0, 0, :5], (4, 300, 5)):
    GRU(5, 8)(view)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)


def test_a_decoder_without_attention_takes_no_context():
    code = START + """
decoder = Decoder(GRU(5, 8)._watched, None, False)
refused("context, weights:", decoder.infer, ones(6, 5), np.array([2, 2, 2]), None, ones(1, 3, 8), None, ones(6, 8),
        object(), None, ones(1, 3, 8), None)
"""
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
