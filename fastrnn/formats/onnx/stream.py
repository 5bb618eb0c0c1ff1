"""Sessions over a graph that carry its state from run to run."""

import re
from typing import TYPE_CHECKING

import numpy as np

from ...check.values import check_mapping, check_positive_int, shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from ..._types import Array, ArrayLike

# The name of an input with one of these parts, or with one added, is the name of the output that is its next value.
REPLACED = (("in", "out"), ("input", "output"), ("past", "present"), ("initial", "final"), ("prev", "next"),
            ("previous", "next"), ("old", "new"), ("init", "final"), ("0", "n"), ("0", "1"), ("in", "new"))
ADDED = "{}n", "{}_n", "{}_out", "{}_output", "{}_new", "{}_next", "new_{}", "next_{}", "out_{}", "output_{}"


def names_of_next(name):
    """The names, in lower case, that the next value of a state may have."""
    name = name.lower()
    found = {form.format(name) for form in ADDED}
    words = re.split(r"([_./:\-]|(?<=[a-z])(?=\d))", name)
    for before, after in REPLACED:
        for k, word in enumerate(words):
            if word == before and len(words) > 1:   # "input" alone is no state
                found.add("".join([*words[:k], after, *words[k + 1 :]]))
        if name.endswith(before) and 2 < len(before) < len(name):
            found.add(name.removesuffix(before) + after)
        if name.startswith(before) and 2 < len(before) < len(name):
            found.add(after + name.removeprefix(before))
    return found - {name}


def fits(one, other):
    """Whether a declared output may be the next value of a declared input."""
    (dtype, shape), (next_dtype, next_shape) = one, other
    if dtype != next_dtype:
        return False
    if shape is None or next_shape is None:
        return True
    return len(shape) == len(next_shape) and all(
        a == b or not (isinstance(a, int) and isinstance(b, int)) for a, b in zip(shape, next_shape))


def pairs(model):
    """Input name -> output name of the states, by their names."""
    outputs, found = {}, {}
    for name in model.outputs:
        outputs.setdefault(name.lower(), []).append(name)
    for name, declared in model.inputs.items():
        candidates = [one for lower in sorted(names_of_next(name)) for one in outputs.get(lower, ())
                      if fits(declared, model.outputs[one])]
        if len(candidates) > 1:
            raise ValueError(f"states: expected one output that is the next {name!r}, found "
                             f"{' and '.join(map(repr, candidates))}; give the pairs: states={{{name!r}: ...}}")
        if candidates:
            found[name] = candidates[0]
    if not found:
        raise ValueError(f"states: expected inputs and outputs whose names are those of states, such as 'h' and 'hn', "
                         f"found the inputs {', '.join(map(repr, model.inputs))} and the outputs "
                         f"{', '.join(map(repr, model.outputs))}; give the pairs: states={{input: output}}")
    return found


def check_pairs(model, states):
    """The pairs that a caller gives."""
    check_mapping(states, "states")
    for name, output in states.items():
        if name not in model.inputs or output not in model.outputs:
            raise ValueError(f"states: expected pairs of an input among {', '.join(map(repr, model.inputs))} and an "
                             "output "
                             f"among {', '.join(map(repr, model.outputs))}, found {shown(name)}: {shown(output)}")
        if not fits(model.inputs[name], model.outputs[output]):
            raise ValueError(f"states: expected an output like the input {name!r}, {model.inputs[name]}, found "
                             f"{output!r}, "
                             f"{model.outputs[output]}")
    if not states:
        raise ValueError("states: expected a pair of an input and an output, found none")
    return dict(states)


class OnnxStream:
    """A session over an `OnnxModel`, made by ``model.stream()``: it keeps the state, and shares all else.

    A session has one caller at a time; any number of sessions may run side by side.

    Parameters
    ----------
    model : OnnxModel
    batch_size, states, initial
        See ``OnnxModel.stream``.

    Attributes
    ----------
    states : dict of str to str
        The inputs that are states, each with the output that is its next value.
    """

    def __init__(self, model: "Any", batch_size: int = 1, states: "Mapping[str, str] | None" = None,
                 initial: "Mapping[str, ArrayLike] | None" = None) -> None:
        self._model = model
        self.states = pairs(model) if states is None else check_pairs(model, states)
        doubled = set(self.states.values())
        if len(doubled) < len(self.states):
            raise ValueError(f"states: expected another output for each state, found {shown(self.states)}")
        self.batch_size = check_positive_int(batch_size, "batch_size")
        self._fed = {name: None for name in model.inputs if name not in self.states}.keys()     # in order
        places = {name: k for k, name in enumerate(model.outputs)}
        self._next = [(name, places[output]) for name, output in self.states.items()]
        self._given = [(name, k) for name, k in places.items() if name not in doubled]
        initial = {} if initial is None else initial
        check_mapping(initial, "initial")
        unknown = [name for name in initial if name not in self.states]
        if unknown:
            raise ValueError(f"initial: expected states among {', '.join(map(repr, self.states))}, found "
                             f"{shown(unknown[0])}")
        self._initial = {name: self._start(name, initial.get(name)) for name in self.states}
        self._state = dict(self._initial)

    def _start(self, name, value):
        dtype, shape = self._model.inputs[name]
        if value is not None:
            return self._taken(name, value)
        unknown = [n for n in shape or () if not isinstance(n, int)]
        if shape is None or len(unknown) > 1:
            raise ValueError(f"initial: expected an array for {name!r}, whose shape {shape} leaves more open than the "
                             "batch "
                             "size, found none")
        return np.zeros([n if isinstance(n, int) else self.batch_size for n in shape], dtype)

    def _taken(self, name, value):
        """A copy of an array that is to be a state."""
        dtype, shape = self._model.inputs[name]
        value = np.array(value)
        if value.dtype != dtype or (shape is not None and (value.ndim != len(shape) or any(
                isinstance(n, int) and n != m for n, m in zip(shape, value.shape)))):
            raise ValueError(f"{name}: expected a state of {dtype} and shape {shape}, found {value.dtype} of shape "
                             f"{value.shape}")
        return value

    def step(self, feeds: "Mapping[str, ArrayLike]") -> "dict[str, Array]":
        """The outputs that are no states, for the inputs that are none; the state goes on.

        Raises
        ------
        ValueError, TypeError
            As ``OnnxModel.run``; the state is then as it was.
        """
        if feeds.__class__ is not dict:
            check_mapping(feeds, "feeds")
        if len(feeds) != len(self._fed) or not self._fed <= feeds.keys():
            raise ValueError(f"feeds: expected arrays for {', '.join(map(repr, self._fed)) or 'no inputs'}, found "
                             f"{', '.join(map(shown, feeds)) or 'none'}")
        model, before, state = self._model, self._state, {}
        found = model._run(model._arguments({**before, **feeds}))
        for name, k in self._next:
            value = state[name] = found[k]
            if value.shape != before[name].shape or value.dtype != before[name].dtype:
                raise ValueError(f"{self.states[name]}: expected a state of shape {before[name].shape} as {name!r}, "
                                 f"found {value.dtype} of shape {value.shape}")
        self._state = state
        return {name: found[k] for name, k in self._given}

    @property
    def state(self) -> "dict[str, Array]":
        """Copies of the states by the names of their inputs. Assign to it to continue from others."""
        return {name: array.copy() for name, array in self._state.items()}

    @state.setter
    def state(self, state: "Mapping[str, ArrayLike]") -> None:
        check_mapping(state, "state")
        if state.keys() != self._state.keys():
            raise ValueError(f"state: expected {', '.join(map(repr, self._state))}, found "
                             f"{', '.join(map(shown, state))}")
        self._state = {name: self._taken(name, state[name]) for name in self._state}

    def reset(self) -> None:
        """Back to the state at the start."""
        self._state = dict(self._initial)

    def copy(self) -> "OnnxStream":
        """An independent session that continues from this one's state."""
        twin = OnnxStream(self._model, self.batch_size, self.states, self._initial)
        twin._state = dict(self._state)
        return twin
