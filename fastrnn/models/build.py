"""A model from the description in its file."""

from typing import TYPE_CHECKING

from ..nn._init import left_at_zero
from ..nn.module import module_from_config

if TYPE_CHECKING:
    from typing import Any

    from .._types import Array


def build_model(config: "dict[str, Any]", tensors: "dict[str, Array]") -> "Any":
    """The model that a `Module.config` dictionary describes, of whichever of this package's types, to load into.

    Parameters
    ----------
    config : dict
    tensors : dict of str to array
        Those of the file. The model takes only as much memory as they do: a description that needs others is refused
        before there is any room for it.
    """
    # Types register themselves when they are imported; here, as only those who read a model need them all.
    from ..data import scaling  # noqa: F401
    from ..nn import branches, directions, elementwise, inputs, layers, masked, runners, sequential  # noqa: F401
    from . import seq2seq, text  # noqa: F401

    with left_at_zero(tensors.values()):
        return module_from_config(config)
