"""Reference equations of the layers around recurrent ones, in float64 and plain loops, as their papers print them."""

import math

import numpy as np


def each(function, x):
    """A function of one number, for each element of x."""
    return np.array([function(float(v)) for v in np.asarray(x).flat]).reshape(np.shape(x))


def sigmoid(v):
    return 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v))


def gelu(v):
    return v * math.erfc(-v / math.sqrt(2)) / 2


def gelu_tanh(v):
    return v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def softplus(v, beta=1.0, threshold=20.0):
    return v if beta * v > threshold else math.log1p(math.exp(beta * v)) / beta


def softmax(x):
    e = [[math.exp(float(v) - float(max(row))) for v in row] for row in np.reshape(x, (-1, np.shape(x)[-1]))]
    return np.array([[v / math.fsum(row) for v in row] for row in e]).reshape(np.shape(x))
