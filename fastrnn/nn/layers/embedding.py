"""Rows of a table by number."""

import math
from typing import TYPE_CHECKING

import numpy as np

from ...check.symbols import check_ids
from ...check.values import check_bool, check_positive_int
from ...engine.ops import _embedding
from ...engine.runtime._arrays import room
from .. import _init
from ..fewbits import SCALE, restored, stored
from .axes import rows
from .base import Layer

if TYPE_CHECKING:
    from ..._types import DType, LayerInit, Seed


class Embedding(Layer):
    """Rows of a table by number, y = weight[x].

    Parameters
    ----------
    num_embeddings : int
        Number of rows V of the table.
    embedding_dim : int
        Width E of the rows.
    dtype : "float32" or "float64"
    seed : int, SeedSequence, Generator or None
        Source of the table.
    init : str, pair, number, array or callable
        Initialiser of the table: "normal" by default, the standard normal distribution; see `Linear`. An array (V, E)
        may hold vectors that were trained elsewhere.
    sparse : bool
        Whether an update touches only the rows whose ids are in its batches, for large tables: `zero_grad`, clipping,
        norms and optimisers leave the others out. SGD without momentum and Adagrad do the same updates with it and
        without; the others update the running means of a row, and the row, only when its id occurs (as in
        torch.optim.SparseAdam), and weight decay, which would change every row, is refused. The gradient in `grads` is
        read-only but for ``grads[name] = array``.

    Notes
    -----
    ``params``: weight (V, E). x holds ints in 0 .. V-1 in any shape (...), y is (..., E). Ids have no
    gradient: `backward` returns None for dx.
    """

    takes_ids = True

    def __init__(self, num_embeddings: int, embedding_dim: int, *, dtype: "DType" = "float32",
                 seed: "Seed" = None, init: "LayerInit" = "default", sparse: bool = False) -> None:
        super().__init__(dtype, seed)
        self.sparse = check_bool(sparse, "sparse")
        self.num_embeddings = check_positive_int(num_embeddings, "num_embeddings")
        self.embedding_dim = check_positive_int(embedding_dim, "embedding_dim")
        _init.claim((self.num_embeddings, self.embedding_dim), self.dtype, "weight")
        weight = room((self.num_embeddings, self.embedding_dim), self.dtype)
        self.init = _init.initialise_layer({"weight": weight}, self.rng, init, {"weight": "normal"},
                                           1 / math.sqrt(self.embedding_dim))
        self._own({"weight": weight})
        self._pin()
        if self.sparse:
            self._make_sparse("weight")

    def _store_weights(self, weight_format):
        self._own_stored(stored(self._params, ["weight"], weight_format), weight_format)
        self._pin()

    def _row_work(self):
        return self.embedding_dim

    def _apply(self, x, lengths, training):
        ids = check_ids(x, "x", self.num_embeddings)
        if self.weight_format != "float":
            params = self.params
            scale = params.get("weight" + SCALE)
            return restored(params["weight"][ids], None if scale is None else scale[ids]), (ids,)
        y = np.empty((*ids.shape, self.embedding_dim), self.dtype)
        _embedding.gather(rows(y), self.params["weight"], ids.reshape(-1))
        return y, (ids,)

    def _gradient(self, dy, ids):
        _embedding.scatter_add(self._rows_to_add_to("weight", ids), rows(dy), ids.reshape(-1))
