"""What an imported model puts out, compared with what its source did."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ..check.arrays import real_array
from ..check.values import check_number

if TYPE_CHECKING:
    from typing import Any


class Verification(NamedTuple):
    """How far an imported model's outputs are from those of its source.

    Attributes
    ----------
    worst_error : float
        The largest absolute difference of all outputs.
    tolerance : float
    values : int
        How many values were compared.
    """

    worst_error: float
    tolerance: float
    values: int


def check_tolerance(tolerance: "Any", sample_inputs: "Any", expected_outputs: "Any") -> None:
    """Raise unless the arguments of a verification come together."""
    check_number(tolerance, "tolerance", low=0)
    if (sample_inputs is None) != (expected_outputs is None):
        missing = "sample_inputs" if sample_inputs is None else "expected_outputs"
        raise ValueError(f"{missing}: expected with the other one of sample_inputs and expected_outputs, found None")


def verified(model: "Any", sample_inputs: "Any", expected_outputs: "Any", tolerance: float) -> "Any":
    """`model`, whose outputs were compared, if there are any to compare with.

    Raises
    ------
    ValueError
        If an output is further off than the tolerance, or there are others than expected.
    """
    if sample_inputs is None:
        return model
    if isinstance(model, dict):
        raise ValueError(f"sample_inputs: expected None with parts, of which the calls are not known; found some and "
                         f"the parts {', '.join(model)[:300]}")
    outputs = model(*sample_inputs) if isinstance(sample_inputs, tuple) else model(sample_inputs)
    model.verification = compared(outputs, expected_outputs, tolerance)
    return model


def compared(outputs: "Any", expected: "Any", tolerance: float) -> Verification:
    """The verification of outputs; raises where they are further from the expected ones than the tolerance."""
    wanted = dict(_leaves(expected, "expected_outputs"))
    if "expected_outputs" in wanted and isinstance(outputs, tuple):
        outputs = outputs[0]  # y alone is compared, and not the state
    found = dict(_leaves(outputs, "expected_outputs"))
    if found.keys() != wanted.keys():
        raise ValueError(f"expected_outputs: expected the structure of the model's outputs, {', '.join(found)}; found "
                         f"{', '.join(wanted)}")
    worst, values = 0.0, 0
    for name, array in wanted.items():
        ours = found[name]
        if ours.shape != array.shape:
            raise ValueError(f"{name}: expected shape {ours.shape} as the model's output, found {array.shape}")
        values += array.size
        if not array.size:
            continue
        ours, array = ours.astype(np.float64), array.astype(np.float64)
        with np.errstate(invalid="ignore"):
            error = np.abs(ours - array)
        error[(ours == array) | (np.isnan(ours) & np.isnan(array))] = 0  # infinities, too
        error[np.isnan(error)] = np.inf
        worst = max(worst, float(error.max()))
        if worst > tolerance:
            at = tuple(map(int, np.unravel_index(np.argmax(error), error.shape)))
            raise ValueError(f"{name}: expected outputs within {tolerance:g} of the model's, found an error of "
                             f"{worst:.3g} at {at}")
    return Verification(worst, tolerance, values)


def _leaves(value, name):
    if isinstance(value, (tuple, list)):
        for k, one in enumerate(value):
            if one is not None:
                yield from _leaves(one, f"{name}[{k}]")
    else:
        if hasattr(value, "detach"):
            value = value.detach().cpu().numpy()
        yield name, real_array(value, name)
