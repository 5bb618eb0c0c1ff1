from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.float64])

def sgd(
    p: _Array,
    velocity: _Array | None,
    g: _Array,
    scale: float,
    lr: float,
    momentum: float,
    decay: float,
    nesterov: bool,
) -> None: ...
def adam(
    p: _Array,
    mean: _Array,
    square: _Array,
    g: _Array,
    scale: float,
    t: int,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    decay: float,
    decoupled_decay: float,
) -> None: ...
def rmsprop(
    p: _Array,
    square: _Array,
    mean: _Array | None,
    velocity: _Array | None,
    g: _Array,
    scale: float,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    decay: float,
) -> None: ...
def adagrad(
    p: _Array, total: _Array, g: _Array, scale: float, lr: float, eps: float, decay: float
) -> None: ...
def sum_squares(x: _Array) -> float: ...
def all_finite(x: _Array) -> bool: ...
