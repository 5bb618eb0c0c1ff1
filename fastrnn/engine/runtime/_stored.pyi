from typing import Any

from numpy import ndarray

FORMATS: tuple[str, ...]
SCALE: str

def store(w: ndarray[Any, Any], weight_format: str) -> tuple[ndarray[Any, Any], ndarray[Any, Any] | None]: ...
