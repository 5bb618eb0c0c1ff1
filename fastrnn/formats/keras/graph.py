"""Keras' models as chains of layers: each takes the output of the one before, and nothing else."""

from typing import TYPE_CHECKING

from ...nn.masked import MaskedSequential
from ...nn.sequential import Sequential
from .layers import MIXING, mask_of, modules_of
from .options import Spec
from .recurrent import LAYERS, described

if TYPE_CHECKING:
    from typing import Any

MODELS = "Sequential", "Functional", "Model"
MASKING = "NotEqual", "Any"  # operations by which Keras 3 notes the mask of a layer
MOST_DEEP = 16


def network(model: Spec, held: "Any") -> "Any":
    """The network of a model, or of a layer.

    Parameters
    ----------
    model : Spec
    held : dict of str to list of array or to such a dict
        A model's weights: of each layer by its name. Of a layer its list of weights.
    """
    specs = list(_layers(model, held, 0)) if model.kind in MODELS else [model._replace(weights=held)]
    modules, mask, fill, first = [], None, "zeros", True
    for spec in specs:
        value = mask_of(spec)
        if value is not None:
            if not first:
                raise ValueError(f"{spec.where}: expected masks of a model's input alone, found one within it")
            mask = value
        turned = spec.kind in MIXING or (spec.flag("go_backwards") and spec.flag("return_sequences"))
        if mask is not None and turned:
            raise ValueError(f"{spec.where}: expected no mask before it, found one: Keras puts masked steps elsewhere")
        first = first and spec.kind == "InputLayer"
        modules += modules_of(spec)
        if spec.kind == "Bidirectional" or spec.kind == "RNN" or spec.kind in LAYERS:
            # a Bidirectional sets the flag of its layers, whatever they say
            zeros = spec.kind == "Bidirectional" or spec.flag("zero_output_for_mask")
            fill = "zeros" if zeros else "last"
    if not modules:
        raise ValueError(f"{model.where}: expected a layer that computes, found none")
    try:
        pooled = any(module.pools_time for module in modules)
        counts = pooled or any(module.recurrent for module in modules) or any(spec.kind == "Masking" for spec in specs)
        if mask is not None and counts:     # else an embedding's zeros are ids as others
            return MaskedSequential(*modules, mask_value=mask, fill=None if pooled else fill)
        return Sequential(*modules)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{model.where}: {error}") from None


def layer_names(config: "Any") -> "list[str]":
    """The names of a model's layers, in the order of its configuration."""
    layers, found = config.get("layers"), []
    for one in layers if isinstance(layers, list) else ():
        inner = one.get("config") if isinstance(one, dict) else None
        name = one.get("name") if isinstance(one, dict) and "name" in one else None
        name = inner.get("name", name) if isinstance(inner, dict) else name
        if not isinstance(name, str):
            raise ValueError("expected layers with names, found one without")
        found.append(name)
    return found


def _layers(model, held, deep):
    """The layers in the order in which they are called, those of models inside among them."""
    if deep > MOST_DEEP:
        raise ValueError(f"expected at most {MOST_DEEP} models inside each other, found more")
    if not isinstance(held, dict):
        raise ValueError(f"{model.where}: expected weights of its layers by their names, found others")
    config = model.config
    if not isinstance(config.get("layers"), list):
        raise ValueError(f"{model.where}.layers: expected a list, found a {type(config.get('layers')).__name__}")
    specs = {}
    for k, one in enumerate(config["layers"]):
        spec = described(one, model, f"layers[{k}]")
        name = spec.config.get("name", one.get("name"))
        if not isinstance(name, str) or name in specs:
            raise ValueError(f"{model.where}.layers[{k}]: expected a name of its own, found {name!r:.80}")
        specs[name] = spec, one.get("inbound_nodes")
    order = list(specs) if model.kind == "Sequential" else _chain(specs, config, model)
    for name in order:
        spec = specs[name][0]
        own = held.get(name, {} if spec.kind in MODELS else [])
        if spec.kind in MODELS:
            yield from _layers(spec, own, deep + 1)
        elif isinstance(own, dict):
            raise ValueError(f"{spec.where}: expected its weights, found those of a model")
        else:
            yield spec._replace(weights=own)


def _chain(specs, config, model):
    """The names of a functional model's layers from its one input to its one output."""
    before = {}
    for name, (spec, nodes) in specs.items():
        if spec.kind in MASKING:
            continue
        if not isinstance(nodes, list) or len(nodes) > 1 or (not nodes) != (spec.kind == "InputLayer"):
            raise ValueError(f"{spec.where}: expected a layer that is called once, found one with "
                             f"{len(nodes) if isinstance(nodes, list) else 'no'} calls")
        if nodes:
            sources = _sources(nodes[0], spec)
            if len(sources) != 1 or sources[0] not in specs:
                raise ValueError(f"{spec.where}: expected one input, the output of another layer; found "
                                 f"{', '.join(map(repr, sources))[:200] or 'none'}")
            before[name] = sources[0]
    ends = _ends(config.get("output_layers"))
    starts = _ends(config.get("input_layers"))
    if len(starts) != 1 or not ends or len(set(ends)) != 1:
        raise ValueError(f"{model.where}: expected one input and one output, found {len(starts)} and {len(set(ends))}")
    order = [ends[0]]
    while order[-1] in before:
        order.append(before[order[-1]])
        if len(order) > len(specs):
            raise ValueError(f"{model.where}: expected layers one after another, found a circle")
    if order[-1] != starts[0] or len(order) != sum(spec.kind not in MASKING for spec, _ in specs.values()):
        unused = [name for name, (spec, _) in specs.items() if name not in order and spec.kind not in MASKING]
        raise ValueError(f"{model.where}: expected layers one after another, found others beside them: "
                         f"{', '.join(unused)[:200]}")
    return order[::-1]


def _ends(value):
    """The names of layers in [name, node, tensor], or in a list of such."""
    if isinstance(value, (list, tuple)) and value and isinstance(value[0], str):
        value = [value]
    if not isinstance(value, (list, tuple)):
        return []
    return [one[0] for one in value if isinstance(one, (list, tuple)) and one and isinstance(one[0], str)]


def _sources(node, spec):
    """The names of the layers whose outputs a call takes, masks aside."""
    if isinstance(node, dict):  # of Keras 3
        arguments = node.get("kwargs")
        for name, value in arguments.items() if isinstance(arguments, dict) else ():
            if name != "mask" and _histories(value):
                raise ValueError(f"{spec.where}.{name}: expected no other tensor, found one")
        return _histories(node.get("args"))
    found = []
    for one in node if isinstance(node, list) else [None]:
        if not isinstance(one, list) or not one or not isinstance(one[0], str):
            raise ValueError(f"{spec.where}: expected the inputs of a call by their names, found others")
        if len(one) > 3 and isinstance(one[3], dict) and any(isinstance(value, list) for value in one[3].values()):
            raise ValueError(f"{spec.where}: expected no other tensor in a call, found one")
        found.append(one[0])
    return found


def _histories(value, deep=0):
    """The names of the layers of all tensors in a value."""
    if deep > MOST_DEEP:
        raise ValueError(f"expected at most {MOST_DEEP} lists inside each other, found more")
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            history = value.get("config", {}).get("keras_history") if isinstance(value.get("config"), dict) else None
            return _ends(history)
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [name for one in value for name in _histories(one, deep + 1)]
    return []
