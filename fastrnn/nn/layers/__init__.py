"""Layers without a state: they map each step alone, or reduce the steps of a sequence to one."""

from .activations import ELU, GELU, Hardsigmoid, LeakyReLU, ReLU, Sigmoid, SiLU, Softplus, Tanh
from .base import Layer, LayerStream, written
from .dropout import Dropout
from .embedding import Embedding
from .linear import Linear
from .norm import LayerNorm
from .overtime import LastStep, MeanOverTime, Pooling
from .regularization import ActivationRegularization, counted_steps
from .shape import Flatten, Reverse
from .softmax import LogSoftmax, Softmax
from .vocabulary import AdaptiveSoftmax, SampledSoftmax

__all__ = [
    "ELU",
    "GELU",
    "ActivationRegularization",
    "AdaptiveSoftmax",
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
