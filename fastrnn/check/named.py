"""Inputs that have names: a dict of arrays, or of lists, for a network with several of them."""

from collections.abc import Mapping

from .values import shown


def check_names(values, name, names, what="inputs"):
    """A dict of the `values` in the order of `names`, of which it has exactly these."""
    if not isinstance(values, Mapping):
        raise TypeError(f"{name}: expected a dict of the {what} {', '.join(names)}; found {type(values).__name__}")
    missing = [one for one in names if one not in values]
    unknown = [one for one in values if one not in names]
    if missing or unknown:
        parts = [f"{word} {', '.join(map(shown, some))}"
                 for word, some in (("missing", missing), ("unexpected", unknown)) if some]
        raise ValueError(f"{name}: expected exactly the {what} {', '.join(names)}; found {'; '.join(parts)}"[:300])
    return {one: values[one] for one in names}


def check_named_lengths(lengths, names, name="lengths"):
    """A dict of the lengths of some of the inputs, None for the others."""
    if lengths is None:
        return dict.fromkeys(names)
    if not isinstance(lengths, Mapping):
        raise TypeError(f"{name}: expected a dict of lengths by the names of inputs, found {type(lengths).__name__}")
    unknown = [one for one in lengths if one not in names]
    if unknown:
        raise ValueError(f"{name}: expected names of inputs, {', '.join(names)}; found {shown(unknown[0])}")
    return {one: lengths.get(one) for one in names}


def refuse_names(values, name):
    """Raise for a dict where one array or list is wanted."""
    if isinstance(values, Mapping):
        raise TypeError(f"{name}: expected one array or list, as the model has no named inputs (fastrnn.Inputs); found "
                        f"a dict of {', '.join(map(shown, values))}"[:300])
