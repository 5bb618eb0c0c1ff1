"""`from_keras`: models of Keras, from live objects and files."""

import os
import re
import sys
import warnings
from typing import TYPE_CHECKING

import numpy as np

from ...check.arrays import real_array
from ...files.tensorfile import most_header, parse_json
from ...files.wholefile import as_path, naming, opened, read_into, read_whole
from ...nn.layers import Embedding, Linear
from ..build import GATES, build
from ..verify import check_tolerance, verified
from ..zipped import MAGIC as ZIP
from ..zipped import StoredZip
from .graph import MODELS, layer_names, network
from .hdf5 import MAGIC as HDF5
from .hdf5 import opened_hdf5
from .options import Spec
from .recurrent import LAYERS, build_runner, read_cell

if TYPE_CHECKING:
    from typing import Any

WEIGHTED = {*MODELS, *LAYERS, "RNN", "Bidirectional", "TimeDistributed", "Dense", "Embedding", "LayerNormalization",
            "BatchNormalization", "Conv1D"}
PREFIX = re.compile(r".*/")


def from_keras(source: "Any", *, config: "Any" = None, sample_inputs: "Any" = None, expected_outputs: "Any" = None,
               tolerance: float = 1e-5) -> "Any":
    """The network of a Keras model: its layers one after another. Files are read without Keras and run nothing.

    What gives other numbers is refused, by the names of the layer and the entry of its configuration. Known are
    SimpleRNN, LSTM and GRU (also cuDNN's of early versions, and RNN around their cells or StackedRNNCells) with every
    activation that ``activations=`` of a runner has, Bidirectional with each merge_mode (None is "concat" here),
    TimeDistributed around layers that map a step, Dense, Embedding, Masking, LayerNormalization, Dropout,
    SpatialDropout1D, Activation, ReLU, LeakyReLU, ELU, Softmax, BatchNormalization, Conv1D, MaxPooling1D and
    AveragePooling1D, GlobalMaxPooling1D and GlobalAveragePooling1D, Flatten and models of these inside others.
    Layers that mask steps give a `MaskedSequential`. The state of a stateful layer is the caller's:
    ``y, state = model(x, state)``.

    Parameters
    ----------
    source : keras.Model, keras.layers.Layer, str or path-like
        A file is a .keras archive or an .h5 file of a model or of weights.
    config : dict, str or path-like, optional
        What model.to_json() gives, as a dict, a text or a file, for a file of weights alone. Without it such a file
        gives its layers as parts, a dict of name -> module, with the activations that Keras of the file's version has
        unless it is told others; a warning says so.
    sample_inputs, expected_outputs, tolerance
        As of `from_torch`.

    Returns
    -------
    Sequential, MaskedSequential, or dict of str to Module
        batch_first, as Keras is. Settings of training other than those of Dropout layers are left out.

    Raises
    ------
    ValueError, TypeError
        Naming the file, the layer, what was expected and what was found. Also a FileNotFoundError where there is no
        file.
    ImportError
        If a file needs h5py, which is not there: ``pip install 'fastrnn[keras]'``.
    """
    check_tolerance(tolerance, sample_inputs, expected_outputs)
    if hasattr(source, "get_config") and hasattr(source, "get_weights"):
        if config is not None:
            raise ValueError(f"config: expected None with a model, which tells it itself; found a "
                             f"{type(config).__name__}")
        model = _from_live(source)
    else:
        path = as_path(source)
        config = _read_config(config)
        with opened(path) as (file, size), naming(path, "a model of Keras"):
            model, notes = _from_file(file, size, config)
        for note in notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
    return verified(model, sample_inputs, expected_outputs, tolerance)


def _from_live(source):
    try:
        config = source.get_config()
    except NotImplementedError:
        config = None
    if not isinstance(config, (dict, list)):
        raise ValueError(f"source: expected a model or a layer with a configuration, found a {type(source).__name__}")
    root = type(source).__module__.partition(".")[0]
    if root not in ("keras", "tf_keras", "tensorflow"):
        raise ValueError(f"source: expected a model or a layer of Keras' own class, found a {type(source).__name__} of "
                         f"{type(source).__module__}")
    version = _version(getattr(sys.modules.get(root), "__version__", None) if root != "tensorflow" else
                       getattr(sys.modules.get("keras"), "__version__", None))
    return network(Spec(type(source).__name__, config, [], version), _held(source))


def _held(layer):
    """A layer's weights, or those of a model's layers by name."""
    if type(layer).__name__ in MODELS:
        return {one.name: _held(one) for one in layer.layers}
    return [np.asarray(weight, np.float32) if weight.dtype.name == "bfloat16" else real_array(weight, layer.name)
            for weight in layer.get_weights()]


def _version(text):
    """(major, minor), or None."""
    match = re.match(r"(\d{1,4})\.(\d{1,4})", text) if isinstance(text, str) else None
    return (int(match[1]), int(match[2])) if match else None


def _read_config(config):
    """The description of a model, a dict, of whatever form it is given in."""
    if config is None or isinstance(config, dict):
        return config
    if isinstance(config, list):
        return {"class_name": "Sequential", "config": {"name": "model", "layers": config}}
    if isinstance(config, os.PathLike) or (isinstance(config, str) and not config.lstrip().startswith("{")):
        path = as_path(config)
        with naming(path, "a model's configuration"):
            return _parsed(read_whole(path).decode())
    if not isinstance(config, str):
        raise TypeError(f"config: expected a dict, a text or a path, found {type(config).__name__}")
    return _parsed(config)


def _parsed(text):
    found = parse_json(text)
    if not isinstance(found, dict):
        raise ValueError(f"expected the description of a model, a dict; found a {type(found).__name__}")
    return found


def _model_of(described, version):
    """The model of its description."""
    name, config = described.get("class_name"), described.get("config")
    if name not in MODELS or not isinstance(config, (dict, list)):
        raise ValueError(f"expected the description of a model, one of {', '.join(MODELS)}; found {name!r:.80}")
    registered = described.get("registered_name")
    if registered not in (None, name):
        raise ValueError(f"expected a model of Keras' own, found {registered!r:.80}")
    if isinstance(config, list):  # of a Sequential up to Keras 2.2
        config = {"name": "model", "layers": config}
    for k, one in enumerate(config["layers"] if isinstance(config.get("layers"), list) else ()):
        if not isinstance(one, dict) or not isinstance(one.get("class_name"), str):
            raise ValueError(f"layers[{k}]: expected the description of a layer, found a {type(one).__name__}")
    return Spec(name, config, [], version)


def _from_file(file, size, config):
    head = bytearray(8)
    file.seek(0)
    read_into(file, memoryview(head))
    if head[:4] == ZIP:
        return _from_archive(StoredZip(file, size), size, config), []
    if bytes(head) != HDF5:
        raise ValueError(f"expected a .keras archive or an .h5 file, found one that begins with {bytes(head[:4])!r}")
    file.seek(0)
    with opened_hdf5(file, size) as found:
        return _from_hdf5(found, config)


def _from_archive(archive, size, config):
    texts = {}
    for name in ("config.json", "metadata.json"):
        if archive.length(name) > most_header(size):
            raise ValueError(f"{name}: expected at most {most_header(size)} bytes, found {archive.length(name)}")
        texts[name] = _parsed(archive.read(name).tobytes().decode())
    version = _version(texts["metadata.json"].get("keras_version"))
    model = _model_of(config or texts["config.json"], version)
    with opened_hdf5(archive.read("model.weights.h5").tobytes(), size) as found:
        return network(model, _matched(model, found.by_layers(found.file)))


def _from_hdf5(found, config):
    root = found.file
    inside = found.get(root, "model_weights")
    version = _version(found.attribute(root, "keras_version") or
                       (found.attribute(inside, "keras_version") if inside is not None else None))
    described = config
    text = found.attribute(root, "model_config")
    if described is None and text is not None:
        described = _parsed(text if isinstance(text, str) else "")
    if found.get(root, "layers") is not None or found.get(root, "_layer_checkpoint_dependencies") is not None:
        if described is None:
            raise ValueError("expected a model, or config= with its description; found weights alone, of which the "
                             "layers are not known")
        model = _model_of(described, version or (3, 0))
        return network(model, _matched(model, found.by_layers(root), True)), []
    weights = found.by_names(root if inside is None else inside)
    if described is None:
        return _parts(weights, version)
    model = _model_of(described, version)
    return network(model, _matched(model, _nested(model, weights), config is not None)), []


def _nested(model, weights):
    """layer -> weights, and for a model inside such a dict: its weights have the names of its layers."""
    found = {name: list(own.values()) for name, own in weights.items()}
    for one in model.config["layers"] if isinstance(model.config.get("layers"), list) else ():
        if one["class_name"] not in MODELS or not isinstance(one.get("config"), dict):
            continue
        name = one["config"].get("name")
        inner = {}
        for path, array in weights.get(name, {}).items():
            layer = next((part for part in path.split("/") if part in layer_names(one["config"])), None)
            if layer is None:
                raise ValueError(f"{path[:200]}: expected the weight of a layer of {name!r:.80}, found another")
            inner.setdefault(layer, []).append(array)
        found[name] = inner
    return found


def _matched(model, held, by_order=False):
    """The weights by the names of the model's layers.

    Files of Keras 3 that hold no names have those of the classes, numbered. A description that is given beside a file
    of weights may have other names: the order tells then, as in Keras.
    """
    names = layer_names(model.config)
    used = [name for name, own in held.items() if own]
    if set(used) <= set(names):
        return held
    counts, numbered = {}, {}
    for name, one in zip(names, model.config["layers"]):
        base = re.sub(r"([a-z])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", one["class_name"])).lower()
        count = counts[base] = counts.get(base, -1) + 1
        numbered[f"{base}_{count}" if count else base] = name
    if set(used) <= set(numbered):
        return {numbered[name]: held[name] for name in used}
    weighted = [name for name, one in zip(names, model.config["layers"]) if one["class_name"] in WEIGHTED]
    if not by_order or len(weighted) != len(used):
        raise ValueError(f"expected weights of the layers {', '.join(names)[:300]}; found those of "
                         f"{', '.join(used)[:300]}")
    return {name: held[own] for name, own in zip(weighted, used)}


def _parts(weights, version):
    """(the layers of a file of weights by name, what was taken for granted)."""
    found, notes, left = {}, [], []
    for layer, own in weights.items():
        arrays = {PREFIX.sub("", name).partition(":")[0]: array for name, array in own.items()}
        if len(arrays) != len(own):
            left.append(layer)
        elif "recurrent_kernel" in arrays and {"kernel", "recurrent_kernel"} <= arrays.keys() <= {
                "kernel", "recurrent_kernel", "bias"}:
            found[layer] = _bare_runner(layer, list(own.values()), version)
            notes.append(layer)
        elif arrays.keys() == {"embeddings"} and arrays["embeddings"].ndim == 2:
            rows, width = arrays["embeddings"].shape
            found[layer] = build(Embedding, {"weight": arrays["embeddings"]}, layer, num_embeddings=rows,
                                 embedding_dim=width)
        elif {"kernel"} <= arrays.keys() <= {"kernel", "bias"} and arrays["kernel"].ndim == 2:
            features, out = arrays["kernel"].shape
            named = {"weight": arrays["kernel"].T, **({"bias": arrays["bias"]} if "bias" in arrays else {})}
            found[layer] = build(Linear, named, layer, in_features=features, out_features=out, bias="bias" in arrays)
            notes.append(layer)
        elif arrays:
            left.append(layer)
    if not found:
        raise ValueError(f"expected weights of recurrent layers, tables or maps; found "
                         f"{', '.join(left)[:300] or 'none'}")
    told = [f"took Keras' own activations for {', '.join(notes)[:300]}, of which weights do not tell; say config="] \
        if notes else []
    told += [f"left out what is not known: {', '.join(left)[:300]}"] if left else []
    return (next(iter(found.values())) if len(found) == 1 else found), told


def _bare_runner(layer, weights, version):
    """A runner with the activations that Keras of a version has unless it is told others."""
    recurrent = weights[1]
    kind = GATES.get(recurrent.shape[1] / max(len(recurrent), 1)) if recurrent.ndim == 2 else None
    if kind is None:
        raise ValueError(f"{layer[:200]}: expected the weights of a recurrent layer, found shape {recurrent.shape}")
    name = next(name for name, one in LAYERS.items() if one == kind)
    if version is None and kind != "RNN":
        raise ValueError(f"{layer[:200]}: expected a file that tells Keras' version, on which the gates depend, or "
                         f"config=; found none")
    spec = Spec(name, {"name": layer, "units": len(recurrent), "use_bias": len(weights) == 3}, weights, version)
    return build_runner([read_cell(spec)], [weights], spec.where, "forward")


