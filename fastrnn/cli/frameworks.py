"""Outputs of PyTorch and Keras, where they are installed, to hold imported models to."""

import numpy as np

import fastrnn

from ..formats.verify import compared

TOLERANCE = 1e-5
SEED, STEPS, BATCH = 0, 7, 3


def compare_with_torch(model: "fastrnn.Module | dict[str, fastrnn.Module]", path: str, key: "str | None") -> str:
    """Compare each part with torch.nn's module of the weights that PyTorch itself reads; nothing in the file is run."""
    torch = _framework("torch")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever PyTorch raises
        raise ValueError(f"{path}: cannot be read by PyTorch without running what is in it, as for --verify: "
                         f"{type(error).__name__}") from None
    parts = model if isinstance(model, dict) else {"": model}
    tensors = _flat(found, "")
    worst, values = 0.0, 0
    for name, part in parts.items():
        own = {}
        for parameter, array in fastrnn.to_torch(part).items():
            whole = f"{name}.{parameter}" if name else parameter
            matches = [tensor for place, tensor in tensors.items() if place == whole or (
                place.endswith(f".{whole}") and (key is None or place == f"{key}.{whole}"))]
            if not matches or tuple(matches[0].shape) != array.shape:
                raise ValueError(f"{path}: expected a tensor {whole} of shape {array.shape}, found none in PyTorch")
            own[parameter] = matches[0].to(getattr(torch, array.dtype.name))
        peer = _peer(torch, part)
        peer.load_state_dict(own, strict=True)
        peer.eval()
        x = _inputs(part)
        with torch.no_grad():
            wanted = peer(torch.from_numpy(x))
        outputs = part(x)
        result = compared(outputs, wanted, TOLERANCE)
        worst, values = max(worst, result.worst_error), values + result.values
    return f"worst error {worst:.2g} of {values} values beside PyTorch {torch.__version__}"


def compare_with_keras(model: "fastrnn.Module", path: str) -> str:
    """Compare a network with the model that Keras reads, in its safe mode."""
    keras = _framework("keras")
    try:
        peer = keras.saving.load_model(path, compile=False)
    except Exception as error:  # whatever Keras raises
        raise ValueError(f"{path}: cannot be read by Keras, as for --verify: {type(error).__name__}") from None
    if isinstance(model, dict):
        raise ValueError(f"{path}: expected a whole model to verify, found weights alone")
    shape = [BATCH, *(n or STEPS for n in peer.input_shape[1:])]
    rng = np.random.default_rng(SEED)
    first = model.modules[0]
    x = rng.integers(1, first.num_embeddings, shape) if first.takes_ids else rng.normal(size=shape).astype("f")
    result = compared(model(x), peer.predict(x, verbose=0), TOLERANCE)
    return f"worst error {result.worst_error:.2g} of {result.values} values beside Keras {keras.__version__}"


def _framework(name):
    try:
        return __import__(name)
    except ImportError:
        raise ImportError(f"--verify needs {name}, which made the file: pip install {name}") from None


def _flat(value, name):
    """The tensors in nested dicts by name."""
    if hasattr(value, "detach"):
        return {name: value}
    found = {}
    for entry, inner in value.items() if hasattr(value, "items") else ():
        found.update(_flat(inner, f"{name}.{entry}" if name else str(entry)))
    return found


def _peer(torch, part):
    """The module of torch.nn with the same arguments."""
    names = {"Embedding": ("num_embeddings", "embedding_dim"), "Linear": ("in_features", "out_features", "bias"),
             "LayerNorm": ("features", "eps")}
    kind = type(part).__name__
    if kind in names:
        arguments = [getattr(part, name) for name in names[kind]]
        return getattr(torch.nn, kind)(*arguments, dtype=getattr(torch, part.dtype.name))
    options = {name: getattr(part, name)
               for name in ("num_layers", "bias", "batch_first", "bidirectional", "nonlinearity", "proj_size")
               if hasattr(part, name)}
    if kind not in ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell"):
        raise ValueError(f"--verify: expected parts that torch.nn has, found a {kind}")
    return getattr(torch.nn, kind)(part.input_size, part.hidden_size, **options,
                                   dtype=getattr(torch, part.dtype.name))


def _inputs(part):
    rng = np.random.default_rng(SEED)
    if isinstance(part, fastrnn.Embedding):
        return rng.integers(0, part.num_embeddings, (BATCH, STEPS))
    width = next(getattr(part, name) for name in ("input_size", "in_features", "features") if hasattr(part, name))
    shape = (BATCH, width) if type(part).__name__.endswith("Cell") else (STEPS, BATCH, width)
    return rng.normal(size=shape).astype(part.dtype)
