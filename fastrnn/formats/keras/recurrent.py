"""Keras' recurrent layers as runners."""

from typing import TYPE_CHECKING, NamedTuple

from ...engine.kinds import KINDS
from ...nn.branches import Concat
from ...nn.directions import MergeDirections
from ...nn.layers import LastStep, Reverse
from ...nn.sequential import Sequential
from ..build import RUNNERS, build
from .options import Spec
from .weights import from_keras_weights

if TYPE_CHECKING:
    from typing import Any

CUDNN = {"CuDNNLSTM": "LSTM", "CuDNNGRU": "GRU"}
LAYERS = {"SimpleRNN": "RNN", "LSTM": "LSTM", "GRU": "GRU", **CUDNN}
CELLS = {"SimpleRNNCell": "RNN", "LSTMCell": "LSTM", "GRUCell": "GRU"}
OWN = {kind: KINDS[kind].activations for kind in set(LAYERS.values())}
HARD_UNTIL = (2, 3)  # versions before it have hard_sigmoid for the gates unless they are told another


class Cell(NamedTuple):
    """What a layer or a cell says of its recurrence."""

    kind: str
    hidden: int
    bias: bool
    reset_after: "bool | None"
    activations: "tuple[Any, ...] | None"  # None for the cell's own

    @property
    def arrays(self) -> int:
        """How many weights it has."""
        return 2 + self.bias


def read_cell(spec: Spec) -> Cell:
    """What the configuration of a recurrent layer or of its cell says."""
    kind = {**LAYERS, **CELLS}[spec.kind]
    hidden = spec.get("units")
    if type(hidden) is not int or hidden < 1:
        raise ValueError(f"{spec.where}.units: expected an int of at least 1, found {hidden!r:.80}")
    # none is said by the layers of cuDNN, which have no others
    early = spec.version is not None and spec.version < HARD_UNTIL and spec.kind not in CUDNN
    step = spec.gate("activation", "tanh")
    gate = spec.gate("recurrent_activation", "hard_sigmoid" if early else "sigmoid") if kind != "RNN" else None
    activations = {"RNN": (step,), "LSTM": (gate, step, step), "GRU": (gate, step)}[kind]
    reset = None
    if kind == "GRU":
        reset = True if spec.kind in CUDNN else spec.config.get("reset_after")
        if reset is not None and not isinstance(reset, bool):
            raise ValueError(f"{spec.where}.reset_after: expected true or false, found {reset!r:.80}")
    return Cell(kind, hidden, spec.flag("use_bias", True), reset, None if activations == OWN[kind] else activations)


def arrays_of(cell: Cell, weights: "list[Any]", where: str) -> "tuple[dict[str, Any], bool | None]":
    """(the parameters, reset_after) of a cell's weights."""
    if len(weights) != cell.arrays:
        raise ValueError(f"{where}: expected {cell.arrays} weights, found {len(weights)}")
    arrays, two = from_keras_weights(cell.kind, weights, where)
    if arrays["weight_hh"].shape[1] != cell.hidden:
        raise ValueError(f"{where}: expected weights of {cell.hidden} units, found {arrays['weight_hh'].shape[1]}")
    if cell.kind != "GRU":
        return arrays, None
    if cell.bias and cell.reset_after is not None and two != cell.reset_after:
        raise ValueError(f"{where}.reset_after: expected {two} with {'two biases' if two else 'one bias'}, found "
                         f"{cell.reset_after}")
    return arrays, two if cell.bias else bool(cell.reset_after)


def build_runner(cells: "list[Cell]", weights: "list[list[Any]]", where: str, direction: str) -> "Any":
    """A runner of one layer: a cell for each direction, which differ in their weights and activations alone."""
    first = cells[0]
    if any((cell.kind, cell.hidden, cell.bias) != (first.kind, first.hidden, first.bias) for cell in cells):
        raise ValueError(f"{where}: expected directions of one kind and size, found others")
    arrays, resets = {}, set()
    for cell, own, way in zip(cells, weights, ("", "_reverse")):
        found, reset = arrays_of(cell, own, where)
        arrays.update({f"{name}_l0{way}": array for name, array in found.items()})
        resets.add(reset)
    if len(resets) > 1:
        raise ValueError(f"{where}.reset_after: expected the same of both directions, found both")
    options = {"reset_after": resets.pop()} if first.kind == "GRU" else {}
    if first.kind == "RNN" and all(cell.activations == ("relu",) for cell in cells):
        options["nonlinearity"] = "relu"
    elif any(cell.activations for cell in cells):
        each = [cell.activations or OWN[first.kind] for cell in cells]
        options["activations"] = each[0] if len(set(each)) == 1 else tuple(each)
    return build(RUNNERS[first.kind], arrays, where, input_size=arrays["weight_ih_l0"].shape[1],
                 hidden_size=first.hidden, bias=first.bias, batch_first=True, direction=direction, **options)


def _check_layer(spec):
    """Raise for what changes a layer's outputs and is not known here."""
    spec.refuse("time_major", False)
    for name in ("stateful", "unroll", "return_state", "zero_output_for_mask"):
        spec.flag(name)  # of the state, which callers have in hand, or of how Keras computes


def _ended(modules, spec, backwards):
    """The modules with what a layer puts out at the end: all steps, or the one that it has read last."""
    if not spec.flag("return_sequences"):
        return [*modules, LastStep()]
    return [*modules, Reverse()] if backwards else modules


def layer(spec: Spec) -> "list[Any]":
    """Of SimpleRNN, LSTM, GRU and cuDNN's."""
    _check_layer(spec)
    backwards = spec.flag("go_backwards")
    runner = build_runner([read_cell(spec)], [spec.weights], spec.where, "reverse" if backwards else "forward")
    return _ended([runner], spec, backwards)


def wrapper(spec: Spec) -> "list[Any]":
    """Of RNN around a cell, or around several, each of which takes the outputs of the one before."""
    _check_layer(spec)
    backwards = spec.flag("go_backwards")
    cells = [read_cell(one) for one in _cells(spec)]
    return _ended(_stacked(cells, list(spec.weights), spec, "reverse" if backwards else "forward"), spec, backwards)


def _stacked(cells, left, spec, direction):
    """The runners of cells that take each other's outputs."""
    runners = []
    for cell in cells:
        own, left = left[:cell.arrays], left[cell.arrays:]
        runners.append(build_runner([cell], [own], spec.where, direction))
    if left:
        raise ValueError(f"{spec.where}: expected the weights of its cells, found {len(left)} more")
    return runners


def _cells(spec):
    cell = inner(spec, "cell")
    if cell.kind != "StackedRNNCells":
        return [_known(cell)]
    cells = cell.config.get("cells")
    if not isinstance(cells, list) or not cells:
        raise ValueError(f"{spec.where}.cells: expected a list of cells, found another")
    return [_known(described(one, spec, f"cells[{k}]")) for k, one in enumerate(cells)]


def _known(cell):
    if cell.kind not in CELLS:
        raise ValueError(f"{cell.where}: expected one of {', '.join(CELLS)}; found {cell.kind:.80}")
    return cell


def bidirectional(spec: Spec) -> "list[Any]":
    """Of Bidirectional, with its directions side by side, or merged."""
    forward = inner(spec, "layer")
    backward = inner(spec, "backward_layer") if spec.config.get("backward_layer") is not None else forward
    for name, one in ("layer", forward), ("backward_layer", backward):
        if one.kind not in LAYERS and one.kind != "RNN":
            raise ValueError(f"{spec.where}.{name}: expected one of {', '.join(LAYERS)}, RNN; found {one.kind:.80}")
        _check_layer(one)
    if forward.flag("go_backwards") or (backward is not forward and not backward.flag("go_backwards")):
        raise ValueError(f"{spec.where}: expected a layer that goes forward and one that goes backwards, found others")
    if forward.flag("return_sequences") != backward.flag("return_sequences"):
        raise ValueError(f"{spec.where}.return_sequences: expected the same of both directions, found both")
    cells = [[read_cell(cell) for cell in (_cells(one) if one.kind == "RNN" else [one])] for one in (forward, backward)]
    half = sum(cell.arrays for cell in cells[0])
    weights = spec.weights[:half], spec.weights[half:]
    if all(len(own) == 1 for own in cells):
        runner = build_runner([own[0] for own in cells], list(weights), spec.where, "bidirectional")
        modules = _ended([runner], forward, False)
    else:   # the directions meet behind the last cells alone
        branches = [_ended(_stacked(own, list(held), spec, direction), forward, False)
                    for own, held, direction in zip(cells, weights, ("forward", "reverse"))]
        modules = [Concat(*(Sequential(*branch) for branch in branches), batch_first=True)]
    mode = spec.config.get("merge_mode", "concat")
    if mode in ("sum", "mul", "ave"):
        return [*modules, MergeDirections(mode)]
    if mode not in ("concat", None):
        raise ValueError(f"{spec.where}.merge_mode: expected 'concat', 'sum', 'mul', 'ave' or null, found "
                         f"{mode!r:.80}")
    return modules


def inner(spec: Spec, name: str) -> Spec:
    """The layer or the cell that a configuration describes under a name, without weights."""
    return described(spec.config.get(name), spec, name)


def described(value: "Any", spec: Spec, name: str) -> Spec:
    """A layer of its description, a dict with a class_name and a config."""
    if not isinstance(value, dict) or not isinstance(value.get("class_name"), str) \
            or not isinstance(value.get("config"), dict):
        raise ValueError(f"{spec.where}.{name}: expected the description of a layer, found a {type(value).__name__}")
    registered = value.get("registered_name")
    if registered not in (None, value["class_name"]):
        raise ValueError(f"{spec.where}.{name}: expected a layer of Keras' own, found {registered!r:.80}")
    return Spec(value["class_name"], value["config"], [], spec.version)
