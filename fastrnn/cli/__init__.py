"""The command line, ``fastrnn`` or ``python -m fastrnn``."""

from .command import main

__all__ = ["main"]
