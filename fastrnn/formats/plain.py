"""Which options other systems have for recurrent layers."""

from typing import TYPE_CHECKING

from ..engine.kinds import KINDS
from ..nn.module import few_bit_formats
from ..nn.options import ACTIVATIONS, check_activations

if TYPE_CHECKING:
    from typing import Any

    from ..nn.module import Module

OWN = {"layer_norm": False, "peepholes": False, "coupled_gates": False, "clip": None}


def check_float_weights(model: "Module") -> None:
    """Raise for a quantized model, whose numbers other systems would read as something else."""
    found = few_bit_formats(model)
    if found:
        raise ValueError(f"model: expected float weights to write, found {', '.join(found)} ones; write the model that "
                         "was quantized")


def check_plain(module: "Any", system: str, activations: bool = False, **expected: "Any") -> None:
    """Raise, by the option's name, for a recurrent module with an option that changes its numbers elsewhere.

    Parameters
    ----------
    module : Recurrent
    system : str
    activations : bool
        Whether the system takes other activations.
    **expected
        What further options have to be.
    """
    expected = {**OWN, **expected, **({} if activations or _has_own(module) else {"activation_functions": None})}
    for name, value in expected.items():
        found = getattr(module, name, value)
        if name == "direction" and found == "bidirectional":
            continue
        if found != value:
            shown = "activations" if name == "activation_functions" else name
            raise ValueError(f"{type(module).__name__}: expected {shown}={value!r}, all that {system} has; found "
                             f"{found!r}")
    zoneout = module.zoneout if isinstance(module.zoneout, tuple) else (module.zoneout,)
    if any(zoneout):
        raise ValueError(f"{type(module).__name__}: expected zoneout=0, all that {system} has; found "
                         f"{module.zoneout!r}")


def _has_own(module):
    """Whether a module's activations, though they were given, are those that its cell has anyway."""
    if getattr(module, "activation_functions", None) is None:
        return True
    own = (module.nonlinearity,) if module.kind == "RNN" else KINDS[module.kind].activations
    directions = 1 + getattr(module, "bidirectional", False)
    found = check_activations(module.activation_functions, KINDS[module.kind], directions)
    return found == (tuple((name, *ACTIVATIONS[name]) for name in own),) * directions
