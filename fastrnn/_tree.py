"""The tree of a module and the modules inside it."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._types import Module


def walk(module: "Module") -> "Iterator[Module]":
    """`module`, and all modules inside it, from the outermost in."""
    yield module
    for child in module._children():
        yield from walk(child)
