"""Layers without a state: they map each step alone, or reduce the steps of a sequence to one."""

from .activations import ELU, GELU, Hardsigmoid, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .attentionpooling import AttentionPooling
from .base import Layer, LayerStream, written
from .batchnorm import BatchNorm1d
from .convolution import Conv1d
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .norm import LayerNorm
from .overtime import LastStep, MaxOverTime, MeanOverTime, Pooling
from .regularization import ActivationRegularization, counted_steps
from .shape import Flatten, Reverse
from .softmax import LogSoftmax, Softmax
from .vocabulary import AdaptiveSoftmax, SampledSoftmax
from .windowpooling import AvgPool1d, MaxPool1d

__all__ = [
    "ELU",
    "GELU",
    "ActivationRegularization",
    "AdaptiveSoftmax",
    "AttentionPooling",
    "AvgPool1d",
    "BatchNorm1d",
    "Conv1d",
    "Dropout",
    "Embedding",
    "Flatten",
    "Hardsigmoid",
    "LastStep",
    "Layer",
    "LayerNorm",
    "LayerStream",
    "LeakyReLU",
    "Linear",
    "LogSoftmax",
    "MaxOverTime",
    "MaxPool1d",
    "MeanOverTime",
    "Pooling",
    "ReLU",
    "Reverse",
    "SampledSoftmax",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "counted_steps",
    "written",
]
