# What the lazy `__getattr__` of __init__.py gives, for type checkers and editors; tests/test_typed.py holds it true.

from . import (
    decoding as decoding,
    diagnostics as diagnostics,
    distributed as distributed,
    memory as memory,
    sklearn as sklearn,
)
from ._version import __version__ as __version__
from .config import show_config as show_config
from .data import audio as audio, bpe as bpe, scaling as scaling, vocab as vocab, windows as windows
from .data.batches import LaneStream as LaneStream
from .formats.onnx.layers import onnx_layers as onnx_layers
from .formats.onnx.writing.export import to_onnx as to_onnx
from .formats.onnx.model import from_onnx as from_onnx
from .formats.keras.reader import from_keras as from_keras
from .formats.keras.writer import to_keras as to_keras
from .formats.pytorch.reader import from_torch as from_torch
from .formats.pytorch.writer import to_torch as to_torch
from .models import io as io, text as text
from .models.attention import Attention as Attention
from .models.io import load as load, save as save
from .models.quantization import quantize as quantize
from .models.seq2seq import Seq2Seq as Seq2Seq
from .models.text import CharModel as CharModel
from .nn.branches import Concat as Concat, Residual as Residual
from .nn.inputs import Inputs as Inputs
from .nn.cells import GRUCell as GRUCell, LSTMCell as LSTMCell, RNNCell as RNNCell
from .nn.elementwise import MinGRU as MinGRU, MinLSTM as MinLSTM, QRNN as QRNN, SRU as SRU
from .nn.layers import (
    ELU as ELU,
    GELU as GELU,
    ActivationRegularization as ActivationRegularization,
    AdaptiveSoftmax as AdaptiveSoftmax,
    AttentionPooling as AttentionPooling,
    AvgPool1d as AvgPool1d,
    BatchNorm1d as BatchNorm1d,
    Conv1d as Conv1d,
    Dropout as Dropout,
    Embedding as Embedding,
    Flatten as Flatten,
    Hardsigmoid as Hardsigmoid,
    LastStep as LastStep,
    LayerNorm as LayerNorm,
    LeakyReLU as LeakyReLU,
    Linear as Linear,
    LogSoftmax as LogSoftmax,
    MaxOverTime as MaxOverTime,
    MaxPool1d as MaxPool1d,
    MeanOverTime as MeanOverTime,
    ReLU as ReLU,
    SampledSoftmax as SampledSoftmax,
    Reverse as Reverse,
    SiLU as SiLU,
    Sigmoid as Sigmoid,
    Softmax as Softmax,
    Softplus as Softplus,
    Tanh as Tanh,
)
from .nn.module import Module as Module, register_module as register_module
from .nn.directions import MergeDirections as MergeDirections
from .nn.masked import MaskedSequential as MaskedSequential
from .nn.runners import GRU as GRU, LSTM as LSTM, RNN as RNN
from .nn.sequential import Sequential as Sequential
from .threads import get_num_threads as get_num_threads, set_num_threads as set_num_threads
from .train import (
    averaging as averaging,
    callbacks as callbacks,
    losses as losses,
    metrics as metrics,
    optim as optim,
    schedules as schedules,
)
from .train.fit.trainer import History as History, NonFiniteError as NonFiniteError, Trainer as Trainer
from .train.optim import (
    Adagrad as Adagrad,
    Adam as Adam,
    AdamW as AdamW,
    RMSprop as RMSprop,
    SGD as SGD,
    clip_grad_norm as clip_grad_norm,
    clip_grad_value as clip_grad_value,
)

__all__ = [
    "ELU",
    "GELU",
    "GRU",
    "LSTM",
    "QRNN",
    "RNN",
    "SGD",
    "SRU",
    "ActivationRegularization",
    "Adagrad",
    "Adam",
    "AdamW",
    "AdaptiveSoftmax",
    "Attention",
    "AttentionPooling",
    "AvgPool1d",
    "BatchNorm1d",
    "CharModel",
    "Concat",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "GRUCell",
    "Hardsigmoid",
    "History",
    "Inputs",
    "LSTMCell",
    "LaneStream",
    "LastStep",
    "LayerNorm",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaskedSequential",
    "MaxOverTime",
    "MaxPool1d",
    "MeanOverTime",
    "MergeDirections",
    "MinGRU",
    "MinLSTM",
    "Module",
    "NonFiniteError",
    "RMSprop",
    "RNNCell",
    "ReLU",
    "Residual",
    "Reverse",
    "SampledSoftmax",
    "Seq2Seq",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "Trainer",
    "__version__",
    "audio",
    "averaging",
    "bpe",
    "callbacks",
    "clip_grad_norm",
    "clip_grad_value",
    "decoding",
    "diagnostics",
    "distributed",
    "from_keras",
    "from_onnx",
    "from_torch",
    "get_num_threads",
    "load",
    "losses",
    "memory",
    "metrics",
    "onnx_layers",
    "optim",
    "quantize",
    "register_module",
    "save",
    "scaling",
    "schedules",
    "set_num_threads",
    "show_config",
    "text",
    "to_keras",
    "to_onnx",
    "to_torch",
    "vocab",
    "windows",
]
