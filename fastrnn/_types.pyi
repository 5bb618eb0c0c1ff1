"""Names that annotations use. For type checkers only: Python never loads this file."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from .formats.verify import Verification as Verification
from .nn.module import Module as Module
from .nn.runners import Runner as Runner
from .train.fit.trainer import Trainer as Trainer

Array: TypeAlias = npt.NDArray[Any]
ArrayLike: TypeAlias = npt.ArrayLike
Ints: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]
# Sequences: one padded array, or a list of arrays of their own lengths. Results have the form of what was given.
# A dict of these for a network with named inputs.
Inputs: TypeAlias = npt.ArrayLike | Sequence[Any] | Mapping[str, Any]
Lengths: TypeAlias = Ints | Mapping[str, Ints]
Outputs: TypeAlias = npt.NDArray[Any] | Any
# What gives batches of data: by number, or one after another.
class IndexedSource(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Any: ...

Source: TypeAlias = IndexedSource | Iterable[Any]
# An array for most layers, (h, c) for an LSTM, None for a layer without one, a tuple of these for a Sequential.
State: TypeAlias = Any
DType: TypeAlias = Literal["float32", "float64"] | np.dtype[Any] | type[np.float32] | type[np.float64]
Seed: TypeAlias = int | np.integer[Any] | np.random.SeedSequence | np.random.Generator | None
RandomState: TypeAlias = int | np.random.RandomState | None
PathLike: TypeAlias = str | os.PathLike[str]
Reduction: TypeAlias = Literal["mean", "sum", "batchmean"]
Init: TypeAlias = Literal["default", "pytorch", "irnn"] | dict[str, Any]
# An initialiser of a layer's weight, or a dict of parameter -> initialiser.
LayerInit: TypeAlias = str | float | Sequence[Any] | Array | Callable[..., npt.ArrayLike] | dict[str, Any]
# A name, or a name with alpha and beta, for each activation; or two such sequences, one for each direction.
Activations: TypeAlias = Sequence[Any]
# The rows of each batch, or a function of (epoch, generator) that returns them.
Batches: TypeAlias = Sequence[Ints] | npt.NDArray[np.integer[Any]]
BatchOrder: TypeAlias = Batches | Callable[[int, np.random.Generator], Batches]
Weights: TypeAlias = dict[Any, float] | npt.ArrayLike
