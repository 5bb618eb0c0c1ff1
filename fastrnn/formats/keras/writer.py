"""`to_keras`: models as lists of weights in Keras' order."""

from typing import TYPE_CHECKING

from ...nn.cells import Cell
from ...nn.layers import Embedding, LayerNorm, Linear
from ...nn.module import Compound, Module
from ...nn.recurrent import Recurrent
from ...nn.sequential import Sequential
from .. import build
from ..plain import check_float_weights, check_plain
from .weights import to_keras_weights

if TYPE_CHECKING:
    from ..._types import Array

NAMES = "weight_ih", "weight_hh", "bias_ih", "bias_hh"


def to_keras(model: "Module") -> "list[Array]":
    """The parameters of a model as ``set_weights`` of the same layers in Keras takes them.

    A runner is, for each of its layers, an SimpleRNN, LSTM or GRU layer, or a Bidirectional around one; a cell is
    Keras' cell; Linear is Dense. A GRU's two biases stay apart with reset_after. Where Keras has one bias, it is the
    sum of two: exact for models of `from_keras`, whose second one is zero, and rounded otherwise.

    Parameters
    ----------
    model : Module
        Runners, cells, Embedding, Linear and LayerNorm, and a `Sequential` of them and of modules without parameters.

    Returns
    -------
    list of array
        In the order of the layers: for ``keras_model.set_weights(to_keras(model))``.

    Raises
    ------
    ValueError
        For a module or an option that Keras does not have, by its name: a projection, layer normalisation, peepholes,
        clipping, coupled gates, zoneout.
    """
    if not isinstance(model, Module):
        raise TypeError(f"model: expected a fastrnn module, found {type(model).__name__}")
    check_float_weights(model)
    if isinstance(model, Sequential):
        found = [array for module in model.modules for array in to_keras(module)]
        if model.tie_embeddings:
            raise ValueError("model: expected modules with weights of their own, all that Keras has; found "
                             "tie_embeddings=True")
        return found
    if type(model) in (*build.RUNNERS.values(), *build.CELLS.values()):
        return _recurrent(model)
    if isinstance(model, (Linear, LayerNorm, Embedding)):
        arrays = model.state_dict()
        return [arrays["weight"].T.copy() if isinstance(model, Linear) else arrays["weight"],
                *([arrays["bias"]] if "bias" in arrays else [])]
    if model.params or isinstance(model, Compound):
        raise ValueError(f"model: expected modules that Keras has, found {type(model).__name__}")
    return []


def _recurrent(model: Recurrent):
    check_plain(model, "Keras", activations=True, proj_size=0)
    arrays, kind = model.params, model.kind
    two = kind == "GRU" and model.reset_after
    if isinstance(model, Cell):
        return to_keras_weights(kind, dict(arrays), two)
    found = []
    for layer in range(model.num_layers):
        for way in ("", "_reverse") if model.bidirectional else ("",):
            own = {name: arrays[f"{name}_l{layer}{way}"] for name in NAMES if f"{name}_l{layer}{way}" in arrays}
            found += to_keras_weights(kind, own, two)
    return found
