"""Options of RNN, LSTM and GRU that change their equations, with ONNX's meaning: see `_general.pyx`."""

import numbers

from ..check.plain import plain_scalar
from ..check.values import check_bool, check_number, check_option, shown

# name -> default alpha and beta
ACTIVATIONS = {
    "sigmoid": (0.0, 0.0), "tanh": (0.0, 0.0), "relu": (0.0, 0.0), "affine": (1.0, 0.0), "leaky_relu": (0.01, 0.0),
    "thresholded_relu": (1.0, 0.0), "scaled_tanh": (1.0, 1.0), "hard_sigmoid": (0.2, 0.5), "elu": (1.0, 0.0),
    "softsign": (0.0, 0.0), "softplus": (0.0, 0.0),
}  # fmt: skip
# name -> how many of the two it uses
TAKES = {"affine": 2, "leaky_relu": 1, "thresholded_relu": 1, "scaled_tanh": 2, "hard_sigmoid": 2, "elu": 1}
DIRECTIONS = "forward", "reverse", "bidirectional"


def check_direction(direction, bidirectional):
    """One of `DIRECTIONS`; `bidirectional` means the last of them."""
    bidirectional = check_bool(bidirectional, "bidirectional")
    direction = check_option(direction, "direction", DIRECTIONS)
    if bidirectional and direction == "reverse":
        raise ValueError("bidirectional: expected False with direction='reverse', found True")
    return "bidirectional" if bidirectional else direction


def check_activations(value, cell, directions):
    """None, or a tuple of (name, alpha, beta) for each of the cell's activations; one such tuple per direction."""
    if value is None:
        return None
    wanted = len(cell.activations)
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"activations: expected a sequence of {wanted}, found {shown(value)}")
    sets = [value]
    if directions == 2 and len(value) == 2 and all(_is_set(entry, wanted) for entry in value):
        sets = list(value)
    for one in sets:
        if not isinstance(one, (list, tuple)) or len(one) != wanted:
            raise ValueError(f"activations: expected {wanted} for {cell.name}, {', '.join('fgh'[:wanted])}"
                             f"{', or such a sequence for each of two directions' if directions == 2 else ''}; "
                             f"found {shown(value)}")
    found = [tuple(_activation(entry, "fgh"[k]) for k, entry in enumerate(one)) for one in sets]
    return tuple(found if len(found) == directions else found * directions)


def _is_set(value, wanted):
    """Whether `value` is one direction's activations; ("affine", 2, 1) is a single activation."""
    return isinstance(value, (list, tuple)) and len(value) == wanted and not any(
        isinstance(entry, numbers.Real) for entry in value)


def _activation(value, place):
    name, *numbers_given = value if isinstance(value, (list, tuple)) and value else (value,)
    if not isinstance(name, str) or name not in ACTIVATIONS:
        raise ValueError(f"activations: expected names among {', '.join(ACTIVATIONS)}, found {shown(name)} for {place}")
    if len(numbers_given) > TAKES.get(name, 0):
        raise ValueError(f"activations: expected at most {TAKES.get(name, 0)} numbers with {name!r}, found "
                         f"{shown(value)}")
    given = [check_number(number, f"activations: {part} of {name}")
             for number, part in zip(numbers_given, ("alpha", "beta"))]
    return name, *given, *ACTIVATIONS[name][len(given):]


def engine_options(cell, own, directions, activations, clip, peepholes, coupled_gates):
    """What `Weights` takes for these: nothing where they are the cell's own activations and nothing else."""
    own = (tuple((name, *ACTIVATIONS[name]) for name in own),) * directions
    found = check_activations(activations, cell, directions) or own
    if found == own and clip is None and not peepholes and not coupled_gates:
        return {}
    # the engine needs f, g and h of every cell
    options = {"activations": [(one + one[-1:] * 2)[:3] for one in found], "coupled": coupled_gates}
    return options if clip is None else {**options, "clip": clip}


def plain_activations(value):
    """Activations as a configuration holds them: tuples of names, numbers and tuples."""
    return tuple(map(plain_activations, value)) if isinstance(value, (list, tuple)) else plain_scalar(value)
