"""Initial parameters of recurrent networks, by name.

``weight_ih*`` and ``weight_hh*`` hold one block of rows per gate; each block is drawn as a separate matrix.
The default is an orthogonal recurrent matrix (Saxe et al. 2014), Glorot and Bengio's (2010) uniform input
matrix, zero biases, and forget gates that start open: a bias of 1 (Gers et al. 2000; Jozefowicz et al. 2015).
"""

import math
import numbers
from collections import Counter
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar

import numpy as np

from .. import memory
from .._onethread import one_thread
from ..check.arrays import check_real
from ..check.values import check_number, shown

MOST_BYTES = 2**46  # of one array, if the size of the memory is unknown
WORTH_HOLDING = 128  # least size for which BLAS starts threads in a factorisation
MOST_MODULES = 2000  # that a file may describe

# name -> (recurrent, input, bias, forget bias)
SCHEMES = {
    "default": ("orthogonal", "glorot_uniform", "zeros", 1.0),
    "pytorch": ("uniform", "uniform", "uniform", None),
    "irnn": ("identity", ("normal", 0.001), "zeros", None),  # Le, Jaitly and Hinton 2015, for relu
}
CHOICES = "recurrent", "input", "bias", "forget_bias"
# Those without a number of their own; Glorot and Bengio's (2010) and He et al.'s (2015) also by their first names.
PLAIN = ("orthogonal", "glorot_uniform", "glorot_normal", "xavier_uniform", "xavier_normal", "he_uniform", "he_normal",
         "kaiming_uniform", "kaiming_normal", "zeros")
# name -> (whether uniform, what the variance is 2 over)
BY_FANS = {f"{name}_{shape}": (shape == "uniform", fans)
           for names, fans in ((("glorot", "xavier"), sum), (("he", "kaiming"), lambda fans: fans[0]))
           for name in names for shape in ("uniform", "normal")}
GIVEN = "given"  # what a file says of values that came as an array or by a function
SCALED = "identity", "uniform", "normal", "constant"  # take a number


_loading = ContextVar("loading", default=None)


class Room:
    """The arrays of a file while its module is built: the module may allocate only what the file holds.

    So a file that describes more than it holds costs no memory. Loading compares the names.
    """

    def __init__(self, arrays):
        # A matrix of few bits is first made as floats, zeros that take no memory; see `stored`.
        few = np.int8, np.uint16
        self.left = Counter((array.shape, np.dtype(np.float32) if array.ndim == 2 and array.dtype in few else
                             array.dtype) for array in arrays)
        self.held = frozenset(self.left)
        self.modules = 0

    def take(self, shape, dtype, name):
        if not self.left[shape, dtype]:
            held = "not so many" if (shape, dtype) in self.held else "none"
            raise ValueError(f"{name}: the description needs {dtype} arrays of shape {_brief(shape)}, of which the "
                             f"file has {held}")
        self.left[shape, dtype] -= 1


@contextmanager
def left_at_zero(arrays=None):
    """A context in which new modules keep zeros: their parameters will be loaded, and drawing them takes time.

    With the `arrays` of a file, new modules may allocate only what the file holds; see `Room`.
    """
    token = _loading.set(False if arrays is None else Room(arrays))
    try:
        yield
    finally:
        _loading.reset(token)


def claim(shape, dtype, name):
    """Call before allocating an array of parameters and its gradient: raises if there is too little memory, or if the
    file that is being loaded has no such array."""
    room = _loading.get()
    if room:
        room.take(tuple(shape), dtype, name)
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    memory.require(2 * nbytes, name, f"parameters of shape {tuple(shape)} and their gradients", "use smaller sizes")
    if nbytes > MOST_BYTES:
        raise memory.OutOfMemoryError(f"{name}: expected parameters of at most {memory.amount(MOST_BYTES)}, found "
                                      f"shape {tuple(shape)}")


def claim_again(shape, dtype):
    """Call for a tied array, which a file holds once and which is allocated twice."""
    room = _loading.get()
    if room and (shape, dtype) in room.held:
        room.left[shape, dtype] += 1


def claim_layers(count, name):
    """Call before building `count` layers, each of which has an array of its own."""
    room = _loading.get()
    if room and count > sum(room.left.values()):
        raise ValueError(f"{name}: the description has more layers than the file has arrays")


def claim_module():
    """Call before building a module: raises if a file describes more modules than any network has."""
    room = _loading.get()
    if room:
        room.modules += 1
        if room.modules > MOST_MODULES:
            raise ValueError(f"the description has more than {MOST_MODULES} modules")


def initialise(params, layout, rng, init, hidden):
    """Draw the parameters of one recurrent layer stack, in place, in the order of the dictionary.

    Parameters
    ----------
    params : dict of str to array
    layout : dict of str to Placed
        What each of them is; see `fastrnn.engine.cells._kind.Kind.layout`.
    rng : numpy.random.Generator
    init : "default", "pytorch" or "irnn", or dict
        "pytorch" draws everything from U(-k, k), k = 1/sqrt(H); "irnn" starts from the identity. A dict may name
        the "scheme" (by default "default"), and replace its choices:

        "recurrent", "input", "bias" : str, number, pair or callable
            For ``weight_hh*``, for ``weight_ih*`` and ``weight_hr*``, and for the biases: "orthogonal",
            "identity", "glorot_uniform", "glorot_normal" (also "xavier_..."), "he_uniform", "he_normal" (also
            "kaiming_..."), "uniform", "normal", "zeros", "constant"; a pair, tuple or list, adds the number that
            "identity" (gain), "uniform" (limit), "normal" (standard deviation) and "constant" take; a number is a
            constant; a callable gets (shape, rng).
        "forget_bias" : number
            Bias of an LSTM's forget gates at the start, put into ``bias_ih*`` with zero in ``bias_hh*``.
    hidden : int
        H.

    Raises
    ------
    ValueError, TypeError
        For an unknown scheme, key, initialiser or parameter name.
    """
    choices = dict(init) if isinstance(init, dict) else {"scheme": init}
    scheme = choices.pop("scheme", "default")
    if not isinstance(scheme, str) or scheme not in SCHEMES:
        raise ValueError(f"init: expected one of {', '.join(SCHEMES)}, or a dict; found {shown(scheme)}")
    if not choices.keys() <= set(CHOICES):
        raise ValueError(f"init: expected keys among scheme, {', '.join(CHOICES)}; found {', '.join(map(str, init))}")
    given = {key: choices[key] if choices.get(key) is not None else default
             for key, default in zip(CHOICES, SCHEMES[scheme])}
    forget_bias = given.pop("forget_bias")
    if forget_bias is not None:
        check_number(forget_bias, "init['forget_bias']")
    for key, how in given.items():
        _choice(how, f"init[{key!r}]")
    for name, array in params.items():
        placed = layout[name]
        if placed.start == "ones":
            fill(array, 1, rng)
            continue
        blocks = array.reshape(placed.blocks, array.shape[0] // placed.blocks, *array.shape[1:])
        # a vector of weights has no rows to be orthogonal
        key, how = ("bias", "glorot_uniform") if placed.start == "vector" else (placed.start, given[placed.start])
        for block in blocks:
            fill(block, how, rng, 1 / math.sqrt(hidden), f"init[{key!r}]")
        if placed.opening is not None and forget_bias is not None:
            blocks[placed.opening] = forget_bias if name.startswith("bias_ih") else 0


def initialise_layer(params, rng, init, default, limit):
    """Draw the parameters of a layer, in place, in the order of the dictionary.

    Parameters
    ----------
    params : dict of str to array
        weight, and perhaps bias.
    rng : numpy.random.Generator
    init : "default", initialiser of the weight, or dict of "weight" and "bias" to initialisers
        An initialiser is one of those of `initialise`, or an array of the parameter's shape.
    default : dict of name to initialiser
    limit : float
        Of a bare "uniform".

    Returns
    -------
    The `init` that a configuration holds.

    Raises
    ------
    ValueError, TypeError
        For an unknown key or initialiser, or an array of another shape.
    """
    choices = init if isinstance(init, dict) else {"weight": init}
    if isinstance(init, str) and init == "default":
        choices = {}
    if not choices.keys() <= params.keys():
        raise ValueError(f"init: expected 'default', an initialiser, or a dict of {', '.join(params)}; "
                         f"found {shown(init)}")
    arrays = {}
    for name, how in choices.items():
        argument = f"init[{name!r}]" if isinstance(init, dict) else "init"
        if isinstance(how, np.ndarray):
            arrays[name] = check_real(how, argument)
            if how.shape != params[name].shape:
                raise ValueError(f"{argument}: expected shape {params[name].shape}, found {how.shape}")
        else:
            _choice(how, argument)
    for name, array in params.items():
        if name in arrays:
            array[...] = arrays[name]
        else:
            fill(array, choices.get(name, default[name]), rng, limit, f"init[{name!r}]")
    return noted_init(init)


def noted_init(init):
    """`init` as a configuration holds it: in the place of arrays and functions the note that there were some."""
    if isinstance(init, dict):
        return {name: noted_init(how) for name, how in init.items()}
    return GIVEN if callable(init) or isinstance(init, np.ndarray) else init


def fill(array, how, rng, limit=1.0, argument="initialiser"):
    """Fill one array, in place, as `how` says (see `initialise`); `limit` belongs to "uniform" without a number."""
    if _loading.get() is not None:
        array[...] = 0
        return
    if callable(how):
        array[...] = how(array.shape, rng)
        return
    name, number = _choice(how, argument)
    if (array.ndim < 2 and name == "orthogonal") or (array.ndim != 2 and name == "identity"):
        raise ValueError(f"{argument}: expected a matrix for {name!r}, found shape {array.shape}")
    if name == "orthogonal":
        array[...] = _orthogonal((len(array), math.prod(array.shape[1:])), rng).reshape(array.shape)
    elif name == "identity":
        array[...] = (1.0 if number is None else number) * np.eye(*array.shape)
    elif name in BY_FANS:
        uniform, of = BY_FANS[name]
        fans = of(_fans(array.shape))
        array[...] = rng.uniform(-1, 1, array.shape) * math.sqrt(6 / fans) if uniform else \
            rng.standard_normal(array.shape) * math.sqrt(2 / fans)
    elif name == "uniform":
        array[...] = rng.uniform(-1, 1, array.shape) * (limit if number is None else number)
    elif name == "normal":
        array[...] = rng.standard_normal(array.shape) * (1.0 if number is None else number)
    else:
        array[...] = 0 if number is None else number


def _choice(how, argument):
    """(name, number or None) of an initialiser of `fill`; (None, None) for a callable."""
    if callable(how):
        return None, None
    if isinstance(how, numbers.Real):
        how = ("constant", how)
    name, *number = how if isinstance(how, (tuple, list)) and how else (how,)
    if name is how and isinstance(how, str) and how == GIVEN:
        if _loading.get() is not None:
            return None, None
        raise ValueError(f"{argument}: expected the array or function that the values once came from, which is not "
                         f"kept; found {GIVEN!r}")
    if not isinstance(name, str) or name not in PLAIN + SCALED or len(number) > (name in SCALED):
        raise ValueError(f"{argument}: expected one of {', '.join(PLAIN + SCALED)}, the last {len(SCALED)} also in a "
                         f"pair with a number, or a number or a callable; found {shown(how)}")
    return name, check_number(number[0], argument) if number else None


def _fans(shape):
    """How many inputs an output has, and outputs an input: of (out, in, places), those at all places."""
    return (shape[0], shape[0]) if len(shape) == 1 else tuple(n * math.prod(shape[2:]) for n in shape[1::-1])


def _orthogonal(shape, rng):
    """A matrix with orthonormal rows or columns, whichever are fewer, uniform over all such matrices."""
    with one_thread if max(shape) >= WORTH_HOLDING else nullcontext():
        q, r = np.linalg.qr(rng.standard_normal((max(shape), min(shape))))
    q *= np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return q if shape[0] >= shape[1] else q.T


def _brief(shape):
    return f"({', '.join(f'{n}' if n < 10**18 else 'too many' for n in shape)})"
