from collections.abc import Sequence
from typing import Any, final

from numpy import dtype as _dtype
from numpy import ndarray

_Array = ndarray[Any, Any]

@final
class ArrayMemory: ...

class Pinned:
    mapping: dict[str, _Array]
    arrays: tuple[_Array, ...]
    def __new__(cls, mapping: dict[str, _Array], what: str) -> Pinned: ...
    def intact(self, writes: bool = ...) -> None: ...

def check_kept(kept: object, tape: type) -> None: ...
def room(shape: Sequence[int], dtype: str | _dtype[Any]) -> _Array: ...
