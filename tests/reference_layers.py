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


def conv1d(x, weight, bias, stride=1, left=0, right=0, dilation=1, groups=1):
    """x (T, C) of one sequence, weight (O, C / groups, K)."""
    outputs, inputs, places = weight.shape
    x = np.concatenate([np.zeros((left, x.shape[1])), x, np.zeros((right, x.shape[1]))])
    count = max((len(x) - dilation * (places - 1) - 1) // stride + 1, 0)
    y = np.zeros((count, outputs))
    for t in range(count):
        for o in range(outputs):
            first = o // (outputs // groups) * inputs
            y[t, o] = 0.0 if bias is None else bias[o]
            for j in range(places):
                for c in range(inputs):
                    y[t, o] += weight[o, c, j] * x[t * stride + j * dilation, first + c]
    return y


def places(x, kernel_size, stride, padding, dilation=1):
    """The steps of each window of x (T, C) that are in the sequence."""
    count = (len(x) + 2 * padding - dilation * (kernel_size - 1) - 1) // stride + 1
    for t in range(count):
        at = [t * stride - padding + j * dilation for j in range(kernel_size)]
        yield [x[i] for i in at if 0 <= i < len(x)]


def max_pool(x, kernel_size, stride, padding, dilation):
    return np.array([np.max(window, axis=0) for window in places(x, kernel_size, stride, padding, dilation)])


def mean_pool(x, kernel_size, stride, padding, count_include_pad):
    windows = places(x, kernel_size, stride, padding)
    return np.array([np.sum(one, axis=0) / (kernel_size if count_include_pad else len(one)) for one in windows])


def attention_pool(x, weight, bias, context):
    """x (T, C) of one sequence."""
    scores = [math.fsum(context[a] * math.tanh(math.fsum(weight[a] * step) + bias[a]) for a in range(len(bias)))
              for step in x]
    shares = softmax(np.array([scores]))[0]
    return np.array([math.fsum(share * step[c] for share, step in zip(shares, x)) for c in range(x.shape[1])])


def batch_norm(steps, eps, weight=1.0, bias=0.0):
    """(y, mean, variance of the sample) of the valid steps (n, C) of a batch."""
    n = len(steps)
    mean = np.array([math.fsum(column) / n for column in steps.T])
    variance = np.array([math.fsum((column - m) ** 2) / n for column, m in zip(steps.T, mean)])
    return (steps - mean) / np.sqrt(variance + eps) * weight + bias, mean, variance * n / (n - 1)
