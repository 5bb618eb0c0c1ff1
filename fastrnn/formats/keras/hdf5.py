"""HDF5 files of Keras: configurations and weights, with h5py, within the memory that the file has."""

import contextlib
import io
from typing import TYPE_CHECKING

import numpy as np

from ...files.bfloat16 import from_bfloat16
from ...files.wholefile import error_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..._types import Array

MAGIC = b"\x89HDF\r\n\x1a\n"
SHARING, LITTLE = 2, 1_000_000  # all weights together take at most so many times the file's bytes, and a little
MOST_DEEP, MOST_GROUPS = 16, 20_000
# Beside a group's own "vars", what the layers inside a layer are called, in the order of its weights.
INSIDE = "cell", "forward_layer", "backward_layer", "layer", "cells"


@contextlib.contextmanager
def opened_hdf5(data: "Any", size: int) -> "Iterator[Hdf5]":
    """A reader of an open file or of bytes."""
    try:
        import h5py
    except ImportError:
        raise ImportError("files of Keras need h5py: pip install 'fastrnn[keras]'") from None
    try:
        with h5py.File(io.BytesIO(data) if isinstance(data, bytes) else data, "r") as file:
            yield Hdf5(file, size)
    except (OSError, KeyError, RuntimeError, AttributeError, OverflowError, MemoryError) as error:  # h5py's own
        raise ValueError(f"a damaged HDF5 file: {type(error).__name__} {error_text(error)}") from None


class Hdf5:
    """An open file, of which only plain groups and datasets are read."""

    def __init__(self, file: "Any", size: int) -> None:
        self.file, self.groups = file, MOST_GROUPS
        self.left = SHARING * size + LITTLE

    def get(self, group: "Any", name: str) -> "Any":
        """A member by its path, or None. Links to elsewhere, which may be another file, are refused."""
        import h5py

        parts = name.split("/")
        if len(parts) > MOST_DEEP:
            raise ValueError(f"{name[:200]}: expected at most {MOST_DEEP} groups inside each other, found more")
        for part in parts:
            if not part or part == ".":
                raise ValueError(f"{name[:200]}: expected the name of a member, found another")
            self.groups -= 1
            if self.groups < 0:
                raise ValueError(f"expected at most {MOST_GROUPS} members, found more")
            if not isinstance(group, h5py.Group):
                return None
            link = group.get(part, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                raise ValueError(f"{name[:200]}: expected a member of the file, found a link")
            group = group[part]
        return group

    def array(self, group: "Any", name: str) -> "Array":
        """The numbers of a dataset."""
        import h5py

        found = self.get(group, name)
        if not isinstance(found, h5py.Dataset):
            raise ValueError(f"{name[:200]}: expected weights, found none")
        bits = found.dtype.kind == "V" and found.dtype.itemsize == 2  # of a bfloat16
        if found.is_virtual or found.external or found.compression not in (None, "gzip") or found.shape is None \
                or not (bits or (found.dtype.kind == "f" and found.dtype.itemsize <= 8)):
            raise ValueError(f"{name[:200]}: expected floats that lie in the file, found {found.dtype}")
        if found.chunks is not None and np.prod(found.chunks, dtype=object) * found.dtype.itemsize > self.left:
            raise ValueError(f"{name[:200]}: expected pieces that the file has bytes for, found larger ones")
        self.left -= int(np.prod(found.shape, dtype=object)) * max(found.dtype.itemsize, 4)
        if self.left < 0:
            raise ValueError("expected weights that the file has bytes for, found more")
        array = found[()]
        return from_bfloat16(array.view(np.uint16)) if bits else np.asarray(array, array.dtype.newbyteorder("="))

    def attribute(self, group: "Any", name: str) -> "Any":
        """An attribute: a text, or an array; pieces of one, which Keras numbers, are put together. Or None."""
        if name in group.attrs:
            value = group.attrs[name]
            return value.decode() if isinstance(value, bytes) else value
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(np.atleast_1d(group.attrs[f"{name}{len(parts)}"]))
        return np.concatenate(parts) if parts else None

    def names(self, group: "Any", name: str) -> "list[str]":
        """An attribute that is a list of names."""
        value = self.attribute(group, name)
        if value is None:
            raise ValueError(f"{name}: expected a list of names, found none")
        found = [one.decode() if isinstance(one, bytes) else one for one in np.atleast_1d(value).tolist()]
        if not all(isinstance(one, str) for one in found):
            raise ValueError(f"{name}: expected a list of names, found others")
        return found

    def by_names(self, group: "Any") -> "dict[str, dict[str, Array]]":
        """layer -> weight's name -> weight, of a file up to Keras 2 or of its kind."""
        found = {}
        for layer in self.names(group, "layer_names"):
            inside = self.get(group, layer)
            if inside is None:
                raise ValueError(f"{layer[:200]}: expected the weights of a layer, found none")
            found[layer] = {name: self.array(inside, name) for name in self.names(inside, "weight_names")}
        return found

    def by_layers(self, group: "Any", deep: int = 0) -> "dict[str, Any]":
        """layer -> its weights, or for a model inside such a dict, of the weights of Keras 3."""
        import h5py

        layers = self.get(group, "layers") or self.get(group, "_layer_checkpoint_dependencies")
        if not isinstance(layers, h5py.Group) or deep > MOST_DEEP:
            raise ValueError("layers: expected the weights of a model, found none")
        found = {}
        for name in layers:
            own = self.get(layers, name)
            variables = self.get(own, "vars")
            named = self.attribute(variables, "name") if variables is not None else None
            key = named if isinstance(named, str) else name
            if key in found:
                raise ValueError(f"{key[:200]}: expected one layer of the name, found two")
            found[key] = self.by_layers(own, deep + 1) if self.get(own, "layers") is not None else \
                list(self._variables(own, 0))
        return found

    def _variables(self, group, deep):
        if group is None or deep > MOST_DEEP:
            return
        variables = self.get(group, "vars")
        if variables is not None:
            for name in sorted(variables, key=lambda one: (len(one), one)):
                yield self.array(variables, name)
        for name in INSIDE:
            inside = self.get(group, name)
            if name == "cells" and inside is not None:
                # "lstm_cell", "lstm_cell_1": in the order of their numbers, whatever their kinds
                yield from self._cells(inside, deep)
            else:
                yield from self._variables(inside, deep + 1)

    def _cells(self, group, deep):
        names = list(group)
        kinds = {name.rstrip("0123456789").rstrip("_") for name in names}
        if len(kinds) > 1:
            raise ValueError(f"cells: expected stacked cells of one kind, whose order the file tells; found "
                             f"{', '.join(sorted(kinds))[:200]}")
        for name in sorted(names, key=lambda one: (len(one), one)):
            yield from self._variables(self.get(group, name), deep + 1)
