"""Optimisers that update parameters in place, and gradient clipping.

Throughout, g is the gradient, d = g + weight_decay * p, and t = 1, 2, ... counts the steps. The formulas are those of
torch.optim, and so are the defaults, except SGD's rate.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..check.arrays import FLOATS, own_shape
from ..check.params import check_update, frozen_names, sparse_rows
from ..check.saved import check_count, check_optimizer_state
from ..check.values import check_bool, check_entries_of, check_number, check_pair
from ..engine.ops import _optim

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._types import Array
    from ..nn.module import Module


class Optimizer:
    """Base class: hyperparameters as attributes, one accumulator array per slot and parameter.

    A subclass names its hyperparameters in `hyper` and its accumulators in `_slot_values`, and updates one
    flat array in `_update`.
    """

    hyper: tuple[str, ...] = ("lr", "weight_decay")

    def __init__(self, lr: float, weight_decay: float) -> None:
        self.lr = lr
        self.weight_decay = check_number(weight_decay, "weight_decay", low=0)
        self.steps = 0
        self._slots = {}  # slot -> parameter name -> array
        self._missed = {}  # parameter name -> steps that were made while it was frozen
        self._t = 0  # the count of the parameter in hand
        self._scale = 1.0  # of the gradients in hand

    def __setattr__(self, name: str, value: "Any") -> None:
        if name in self.hyper and name in self.__dict__:    # an assignment: the constructor checks the value
            named = {one: getattr(self, one) for one in self.hyper}
            value = getattr(type(self)(**{**named, name: value}), name)
        elif name == "steps":
            value = check_count(value, name)
        elif name == "hyper":
            raise TypeError("hyper: expected to be set by the class, found an assignment to it in an optimiser")
        super().__setattr__(name, value)

    @property
    def lr(self) -> float:
        """The learning rate; schedules set it."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = check_number(value, "lr", low=0)

    def step(self, params: "dict[str, Array]", grads: "dict[str, Array]", scale: float = 1.0) -> None:
        """Update `params` in place from `grads`.

        Parameters
        ----------
        params, grads : dict of str to array
            The same names, shapes and dtypes in each; C-contiguous, float32 or float64. Those of a module say which
            parameters are frozen (`Module.freeze`); these stay as they are, have no accumulators before they are
            trained, and steps that they miss do not count in their t. They also say which gradients are sparse
            (`Embedding(sparse=True)`): of these only the rows that were added to are read, and updated.
        scale : float, at least 0
            Factor of all gradients, as `clipping_factor` gives it, so that clipping needs no pass of its own.

        Raises
        ------
        ValueError, TypeError
            Naming the parameter that does not fit its gradient or the earlier steps, or has a sparse gradient with
            weight decay; nothing has changed then.
        """
        scale = 1.0 if scale == 1 else check_number(scale, "scale", low=0)
        frozen = frozen_names(params, grads)
        sparse = sparse_rows(grads)
        if sparse:
            sparse = {name: rows for name, rows in sparse.items() if name not in frozen}
        params, grads = check_update(params, grads, self._slots, self._missed)
        if sparse and self.weight_decay:
            raise ValueError(f"weight_decay: expected 0 with the sparse gradient of {next(iter(sparse))!r}, because it "
                             f"would change every row; found {self.weight_decay}")
        trained = {name: p for name, p in params.items() if name not in frozen} if frozen else params
        for slot, value in self._slot_values().items():
            kept = self._slots.get(slot, {})
            if not trained.keys() <= kept.keys():
                new = {name: np.full(p.shape, value, p.dtype) for name, p in trained.items() if name not in kept}
                self._slots[slot] = {**kept, **new}
        flat, every, scaled = [], self._slots.items(), type(self)._update.__module__ == __name__
        for name, p in trained.items():
            g = grads[name]
            if name in sparse:
                rows = sparse[name].indices
                p, g = p[rows], g[rows]
                slots = {slot: kept[name][rows].reshape(-1) for slot, kept in every}
            else:
                slots = {slot: kept[name].reshape(-1) for slot, kept in every}
            if scale != 1 and not scaled:   # by a class of one's own
                g = g * g.dtype.type(scale)
            flat.append((name, p.reshape(-1), g.reshape(-1), slots))
        count, missed = self.steps + 1, self._missed
        vars(self).update(steps=count, _t=count, _scale=scale)      # from here on nothing fails
        if frozen:
            missed.update((name, missed.get(name, 0) + 1) for name in frozen if name in params)
        for name, p, g, slots in flat:
            if missed:
                self._t = max(count - missed.get(name, 0), 1)
            self._update(p, g, slots)
            if name in sparse:
                rows, shape = sparse[name].indices, (-1, *params[name].shape[1:])
                params[name][rows] = p.reshape(shape)
                for slot, kept in slots.items():
                    self._slots[slot][name][rows] = kept.reshape(shape)

    def _slot_values(self):
        """dict of slot -> initial value of its arrays."""
        return {}

    def _update(self, p, g, slots):
        """Update the flat array `p` and the flat accumulators `slots` from `_scale` times the flat gradient `g`; `_t`
        is t."""
        raise NotImplementedError

    def state_dict(self) -> "dict[str, Any]":
        """dict with "type", "steps", "hyper" (these JSON-able) and "arrays" ("slot/parameter" -> copy).

        And "missed", parameter -> steps that were made while it was frozen, if there are any.
        """
        missed = {"missed": dict(self._missed)} if self._missed else {}
        return {
            **missed,
            "type": type(self).__name__,
            "steps": self.steps,
            "hyper": {name: getattr(self, name) for name in self.hyper},
            "arrays": {f"{slot}/{name}": array.copy()
                       for slot, arrays in self._slots.items() for name, array in arrays.items()},
        }

    def load_state_dict(self, state: "dict[str, Any]") -> None:
        """Continue from a `state_dict`; checks everything before it changes anything.

        Raises
        ------
        ValueError, TypeError
            For another type of optimiser, other hyperparameters, or accumulators that do not fit together.
        """
        check_optimizer_state(state, type(self).__name__, self.hyper)
        fresh = type(self)(**state["hyper"])
        missed = dict(state.get("missed", {}))
        slots = {}
        for key, array in state["arrays"].items():
            slot, _, name = key.partition("/")
            slots.setdefault(slot, {})[name] = np.array(array, order="C")
        expected = fresh._slot_values() if state["steps"] and (state["arrays"] or not missed) else {}
        if slots.keys() != expected.keys() or len({frozenset((*arrays, *missed)) for arrays in slots.values()}) > 1:
            raise ValueError(f"state['arrays']: expected every parameter under each of {list(expected)}, "
                             f"found {sorted(state['arrays'])}")
        self.__dict__.update(fresh.__dict__)
        self.steps = state["steps"]
        self._slots, self._missed = slots, missed

    def __repr__(self):
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self.hyper)})"


class SGD(Optimizer):
    """Stochastic gradient descent, v = momentum * v + d.

    p -= lr * d without momentum, lr * v with it, lr * (d + momentum * v) with Nesterov's (1983, in the form
    of Sutskever et al. 2013).

    Parameters
    ----------
    lr : float, at least 0
    momentum : float in [0, 1)
    nesterov : bool
        Needs a momentum above 0.
    weight_decay : float, at least 0
    """

    hyper = ("lr", "momentum", "nesterov", "weight_decay")

    def __init__(self, lr: float = 0.01, momentum: float = 0.0, nesterov: bool = False,
                 weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.momentum = check_number(momentum, "momentum", low=0, below=1)
        self.nesterov = check_bool(nesterov, "nesterov")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: expected momentum above 0 with it, found momentum=0")

    def _slot_values(self):
        return {"velocity": 0.0} if self.momentum else {}

    def _update(self, p, g, slots):
        _optim.sgd(p, slots.get("velocity"), g, self._scale, self.lr, self.momentum, self.weight_decay, self.nesterov)


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015): m and v are running means of d and of its square.

    m = beta1 * m + (1 - beta1) * d,  v = beta2 * v + (1 - beta2) * d^2,
    p -= lr * (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + eps).

    Parameters
    ----------
    lr : float, at least 0
    betas : pair of floats in [0, 1)
    eps : float, above 0
    weight_decay : float, at least 0
        Added to the gradient; for the decoupled form see `AdamW`.
    """

    hyper = ("lr", "betas", "eps", "weight_decay")
    _decoupled = False

    def __init__(self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.betas = check_pair(betas, "betas", low=0, below=1)
        self.eps = check_number(eps, "eps", above=0)

    def _slot_values(self):
        return {"mean": 0.0, "square": 0.0}

    def _update(self, p, g, slots):
        decay, decoupled = (0.0, self.weight_decay) if self._decoupled else (self.weight_decay, 0.0)
        _optim.adam(p, slots["mean"], slots["square"], g, self._scale, self._t, self.lr, *self.betas, self.eps, decay,
                    decoupled)


class AdamW(Adam):
    """Adam after a decoupled weight decay (Loshchilov and Hutter 2019), p -= lr * weight_decay * p.

    Parameters as for `Adam`.
    """

    _decoupled = True

    def __init__(self, lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
                 weight_decay: float = 0.01) -> None:
        super().__init__(lr, betas, eps, weight_decay)


class RMSprop(Optimizer):
    """RMSprop (Hinton 2012; centred: Graves 2013): v is a running mean of d^2, m one of d.

    v = alpha * v + (1 - alpha) * d^2,  u = d / (sqrt(v) + eps), with v - m^2 for v when centred;
    p -= lr * u, or with momentum b = momentum * b + u, p -= lr * b.

    Parameters
    ----------
    lr : float, at least 0
    alpha : float in [0, 1)
    eps : float, above 0
    momentum : float in [0, 1)
    centered : bool
    weight_decay : float, at least 0
    """

    hyper = ("lr", "alpha", "eps", "momentum", "centered", "weight_decay")

    def __init__(self, lr: float = 0.01, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0,
                 centered: bool = False, weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.alpha = check_number(alpha, "alpha", low=0, below=1)
        self.eps = check_number(eps, "eps", above=0)
        self.momentum = check_number(momentum, "momentum", low=0, below=1)
        self.centered = check_bool(centered, "centered")

    def _slot_values(self):
        used = {"square": True, "mean": self.centered, "velocity": self.momentum > 0}
        return {slot: 0.0 for slot, needed in used.items() if needed}

    def _update(self, p, g, slots):
        _optim.rmsprop(p, slots["square"], slots.get("mean"), slots.get("velocity"), g, self._scale, self.lr,
                       self.alpha, self.eps, self.momentum, self.weight_decay)


class Adagrad(Optimizer):
    """Adagrad (Duchi et al. 2011): s sums d^2,  p -= lr / (1 + (t - 1) * lr_decay) * d / (sqrt(s) + eps).

    Parameters
    ----------
    lr : float, at least 0
    lr_decay : float, at least 0
    initial_accumulator : float, at least 0
        Initial value of s.
    eps : float, above 0
    weight_decay : float, at least 0
    """

    hyper = ("lr", "lr_decay", "initial_accumulator", "eps", "weight_decay")

    def __init__(self, lr: float = 0.01, lr_decay: float = 0.0, initial_accumulator: float = 0.0, eps: float = 1e-10,
                 weight_decay: float = 0.0) -> None:
        super().__init__(lr, weight_decay)
        self.lr_decay = check_number(lr_decay, "lr_decay", low=0)
        self.initial_accumulator = check_number(initial_accumulator, "initial_accumulator", low=0)
        self.eps = check_number(eps, "eps", above=0)

    def _slot_values(self):
        return {"total": self.initial_accumulator}

    def _update(self, p, g, slots):
        lr = self.lr / (1 + (self._t - 1) * self.lr_decay)
        _optim.adagrad(p, slots["total"], g, self._scale, lr, self.eps, self.weight_decay)


def _arrays(params_or_grads):
    """(arrays, dict of position -> `GradientRows`): the gradients of a module, or the arrays of a dict or a sequence,
    as views; of a module's what is trained.
    """
    if hasattr(params_or_grads, "grads"):
        params_or_grads = params_or_grads.grads
    sparse = {}
    if isinstance(params_or_grads, Mapping):
        frozen, rows = frozen_names(params_or_grads), sparse_rows(params_or_grads)
        if frozen or rows:
            names = [name for name in params_or_grads if name not in frozen]
            sparse = {k: rows[name] for k, name in enumerate(names) if name in rows}
            params_or_grads = [params_or_grads[name] for name in names]
        else:
            params_or_grads = params_or_grads.values()
    arrays = check_entries_of(params_or_grads, "params_or_grads", "a module or float32 or float64 arrays")
    # Views of NumPy's own type, so that no subclass overrides their attributes.
    arrays = [own_shape(array) if isinstance(array, np.ndarray) else array for array in arrays]
    for array in arrays:
        if not isinstance(array, np.ndarray) or array.dtype not in FLOATS:
            found = f"{array.dtype} array" if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"params_or_grads: expected a module or float32 or float64 arrays, found {found}")
    return arrays, sparse


def _writeable(params_or_grads):
    """`_arrays`; raises if one of them is read-only that is not sparse."""
    arrays, sparse = _arrays(params_or_grads)
    if not all(array.flags.writeable or k in sparse for k, array in enumerate(arrays)):
        raise ValueError("params_or_grads: expected writeable arrays, found a read-only one")
    return arrays, sparse


def _flat(arrays, sparse):
    """The arrays, of sparse ones the rows that may differ from zero, with one axis, aligned for compiled code."""
    if sparse:
        arrays = [array[sparse[k].indices] if k in sparse else array for k, array in enumerate(arrays)]
    taken = [array.ravel() for array in arrays]
    return [flat if flat.flags.aligned else flat.copy() for flat in taken]


def all_finite(params_or_grads: "Module | dict[str, Array] | Sequence[Array]") -> bool:
    """True when no gradient of the module, or no array of the dict or list, holds a NaN or an infinity."""
    return all(map(_optim.all_finite, _flat(*_arrays(params_or_grads))))


def grad_norm(params_or_grads: "Module | dict[str, Array] | Sequence[Array]") -> float:
    """Euclidean norm of all gradients of a module, or of all arrays of a dict or list, as one vector.

    The sum is in double. The norm is finite exactly if every element is (and the norm itself fits into a double).
    """
    return _norm(_flat(*_arrays(params_or_grads)))


def _norm(arrays):
    total = sum(_optim.sum_squares(array) for array in arrays)
    if math.isinf(total) and all(map(_optim.all_finite, arrays)):  # the squares overflow, not the elements
        top = max(float(np.abs(array).max()) for array in arrays if array.size)
        return top * math.sqrt(sum(_optim.sum_squares(array / top) for array in arrays))
    return math.sqrt(total)


def clipping_factor(norm: float, max_norm: float) -> float:
    """The factor of gradients with this norm, max_norm / (norm + 1e-6) or 1, that `clip_grad_norm` scales by."""
    factor = max_norm / (norm + 1e-6)  # torch.nn.utils.clip_grad_norm_'s guard
    return factor if factor < 1 and math.isfinite(norm) else 1.0


def clip_grad_norm(params_or_grads: "Module | dict[str, Array] | Sequence[Array]", max_norm: float) -> float:
    """Scale all gradients together by max_norm / (norm + 1e-6), if their norm is above `max_norm`.

    Parameters
    ----------
    params_or_grads : Module, dict of arrays, or sequence of arrays
        A module's gradients, or the gradient arrays themselves; float32 or float64; scaled in place. What is frozen in
        a module, or in its `grads`, stays out of it.
    max_norm : float, above 0

    Returns
    -------
    float
        The norm before clipping. If it is not finite, the gradients stay as they are.
    """
    max_norm = check_number(max_norm, "max_norm", above=0)
    arrays, sparse = _writeable(params_or_grads)
    norm = _norm(_flat(arrays, sparse))
    factor = clipping_factor(norm, max_norm)
    if factor < 1:
        for k, array in enumerate(arrays):
            if k in sparse:
                sparse[k].scale(factor)
            else:
                array *= factor
    return norm


def clip_grad_value(params_or_grads: "Module | dict[str, Array] | Sequence[Array]", max_value: float) -> None:
    """Limit each gradient element to -max_value .. max_value, in place; arguments as for `clip_grad_norm`."""
    max_value = check_number(max_value, "max_value", above=0)
    arrays, sparse = _writeable(params_or_grads)
    for k, array in enumerate(arrays):
        if k in sparse:
            sparse[k].clip(max_value)
        else:
            np.clip(array, -max_value, max_value, out=array)
