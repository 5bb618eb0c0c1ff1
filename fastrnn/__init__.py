"""fastrnn: recurrent neural networks on CPUs. Train and serve RNN, LSTM and GRU: fast, light, bit-reproducible.

The public names below are loaded when first used, so that ``import fastrnn`` costs little more than NumPy.
Read it from the top:

- `cli`: the command line; `examples` and `bench` use the package as anybody does.
- `sklearn`, `distributed`, `diagnostics`: estimators, training in several processes, how far gradients reach.
- `train`: `fit` is the `Trainer`; losses, optimizers, schedules, metrics and callbacks are its parts.
- `formats`: models of other programs, read and written: ONNX graphs.
- `formats`: models of other systems, in and out.
- `models`: whole networks, and how they are saved and loaded.
- `decoding`, `data`: what becomes of outputs, and how inputs are made.
- `nn`: modules, recurrent layers, cells and streams.
- `files`: files that are written whole and judged when they are read.
- `check`, `threads`, `memory`, `config`: one door for all arguments, and what this process may use.
- The compiled engine: `_engine` -> `_sequence` -> `_lstm`, `_gru` and so on -> C kernels.

A folder imports only from those below it. `_aliases` keeps the short names: `fastrnn.losses`, `fastrnn.optim`.
"""

import importlib
import os
import sys

from . import _aliases
from ._version import __version__

try:
    from . import threads  # noqa: F401  (reads FASTRNN_NUM_THREADS)
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith(f"{__name__}._"):
        raise
    raise ModuleNotFoundError(f"{error.name} is not compiled here: this is a source checkout. Run "
                              "`pip install -e .` in it, or leave it to use an installed fastrnn.") from None
except ValueError as error:  # FASTRNN_ISA or FASTRNN_NUM_THREADS; the command line says it as any bad input
    if os.path.basename(sys.argv[0]) not in ("fastrnn", "fastrnn.exe", "-m"):
        raise
    print(f"fastrnn: error: {error}", file=sys.stderr)
    raise SystemExit(2) from None

_aliases.install()

_HOMES = {
    "nn.cells": ("RNNCell", "LSTMCell", "GRUCell"),
    "nn.runners": ("RNN", "LSTM", "GRU"),
    "nn.elementwise": ("MinGRU", "MinLSTM", "SRU", "QRNN"),
    "nn.layers": ("Embedding", "Linear", "Dropout", "LayerNorm", "ActivationRegularization", "LastStep",
                  "MeanOverTime", "ReLU", "LeakyReLU", "ELU", "GELU", "SiLU", "Tanh", "Sigmoid", "Softplus",
                  "Hardsigmoid", "Softmax", "LogSoftmax", "Flatten", "Reverse", "AdaptiveSoftmax", "SampledSoftmax",
                  "Conv1d", "MaxPool1d", "AvgPool1d", "MaxOverTime", "AttentionPooling", "BatchNorm1d"),
    "nn.module": ("Module", "register_module"),
    "nn.sequential": ("Sequential",),
    "nn.branches": ("Residual", "Concat"),
    "nn.inputs": ("Inputs",),
    "models.attention": ("Attention",),
    "models.seq2seq": ("Seq2Seq",),
    "train.optim": ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "clip_grad_norm", "clip_grad_value"),
    "data.batches": ("LaneStream",),
    "models.text": ("CharModel",),
    "train.fit.history": ("History", "NonFiniteError"),
    "train.fit.trainer": ("Trainer",),
    "models.io": ("save", "load"),
    "models.quantization": ("quantize",),
    "formats.onnx.model": ("from_onnx",),
    "formats.onnx.layers": ("onnx_layers",),
    "formats.onnx.writing.export": ("to_onnx",),
    "nn.directions": ("MergeDirections",),
    "nn.masked": ("MaskedSequential",),
    "formats.keras.reader": ("from_keras",),
    "formats.keras.writer": ("to_keras",),
    "formats.pytorch.reader": ("from_torch",),
    "formats.pytorch.writer": ("to_torch",),
    "threads": ("set_num_threads", "get_num_threads"),
    "config": ("show_config",),
}
_MODULES = ("losses", "metrics", "optim", "averaging", "schedules", "callbacks", "decoding", "text", "vocab", "bpe",
            "windows", "scaling", "audio", "memory", "diagnostics", "distributed")
_OPTIONAL = ("sklearn",)  # need an extra, so `from fastrnn import *` leaves them out
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME_OF, *_MODULES]


def __getattr__(name):
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f".{_HOME_OF[name]}", __name__), name)
    elif name in _MODULES or name in _OPTIONAL or f"{__name__}.{name}" in _aliases.HOMES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module 'fastrnn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
