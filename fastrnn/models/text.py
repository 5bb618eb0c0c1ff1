"""Character models of text: reading, vocabulary, network, and sampling."""

import codecs
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .. import memory
from ..check.symbols import check_ids, check_texts
from ..check.values import check_generator, check_number, check_option, check_positive_int, shown
from ..data.vocab import Vocabulary, check_characters
from ..decoding.sampling import sample
from ..files.wholefile import FileError, MissingFileError
from ..nn.layers import Embedding, Layer, Linear
from ..nn.module import Module, check_arguments
from ..nn.runners import GRU, LSTM, RNN
from ..nn.sequential import Sequential

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import Array, ArrayLike, DType, PathLike, Seed

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
UNKNOWN = 0  # the id of whatever is not in the vocabulary


def read_text(paths: "Sequence[PathLike]" = (), encoding: str = "utf-8") -> str:
    """The texts of files joined by newlines; without any, the documentation inside Python itself.

    Parameters
    ----------
    paths : sequence of str or path-like
    encoding : str
        Of the files, by Python's names: "utf-8", "utf-16", "latin-1", "cp1251", "shift_jis", ... A byte order mark is
        left out.

    Raises
    ------
    ValueError
        Naming the file that is missing (then it is a FileNotFoundError too), cannot be read (an OSError),
        is empty, or is not in this encoding; or for an encoding that Python does not know.
    """
    _check_encoding(encoding)
    if not isinstance(paths, (list, tuple)):
        raise TypeError(f"paths: expected a list of paths, found {type(paths).__name__}")
    if not paths:
        from pydoc_data.topics import topics

        return "\n".join(topics.values())
    return "\n".join(_read_file(Path(path), encoding) for path in paths)


def _check_encoding(encoding):
    if not isinstance(encoding, str):
        raise TypeError(f"encoding: expected the name of an encoding, found {type(encoding).__name__}")
    try:
        "a".encode(encoding)
    except (LookupError, ValueError):
        raise ValueError('encoding: expected the name of an encoding of text that Python knows, such as "utf-8" or '
                         f'"latin-1"; found {shown(encoding)}') from None


def _read_file(path, encoding):
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ValueError(f"{path}: expected text, found an empty file")
    try:
        return data.decode(encoding).removeprefix("\ufeff").replace("\r\n", "\n")
    except UnicodeError as error:
        where = getattr(error, "start", None)  # some codecs do not say
        found = str(error) if where is None else f"byte 0x{data[where : where + 1].hex()} at offset {where}"
        name = "UTF-8" if codecs.lookup(encoding).name == "utf-8" else encoding
        raise ValueError(f"{path}: expected {name} text, found {found}; encoding names another") from None


class OneHot(Layer):
    """Ids as rows of the identity matrix, y[..., k] = (x == k): an `Embedding` with nothing to train.

    Parameters
    ----------
    size : int
        How many ids there are.
    dtype : "float32" or "float64"

    Notes
    -----
    x holds ints in 0 .. size - 1 in any shape (...), y is (..., size). `backward` returns None for dx.
    """

    takes_ids = True

    def __init__(self, size: int, *, dtype: "DType" = "float32") -> None:
        super().__init__(dtype)
        self.size = check_positive_int(size, "size")

    def _apply(self, x, lengths, training):
        ids = check_ids(x, "x", self.size)
        memory.require(ids.size * self.size * self.dtype.itemsize, "size", f"{ids.size} rows of {self.size}",
                       "use an Embedding")
        y = np.zeros((*ids.shape, self.size), self.dtype)
        np.put_along_axis(y, ids[..., None], 1, axis=-1)
        return y, ()

    def _gradient(self, dy):
        return None


class CharModel(Sequential):
    """A recurrent network that predicts the next character: Embedding or `OneHot`, recurrent layers, Linear.

    Parameters
    ----------
    vocabulary : str
        The characters it knows, each once. Character k has id k + 1; id 0 stands for all others.
    cell : "lstm", "gru" or "rnn"
    hidden_size, num_layers : int
    embedding_dim : int or None
        Width of the characters' embedding; None for none: the recurrent layer then sees them one-hot.
    dropout : float
        Between recurrent layers.
    dtype : "float32" or "float64"
    seed : int, numpy.random.SeedSequence, numpy.random.Generator or None

    Notes
    -----
    As a network it takes ids (T, B), time first, and returns logits (T, B, V + 1) and a state.
    """

    def __init__(
        self,
        vocabulary: str,
        *,
        cell: "Literal['gru', 'lstm', 'rnn']" = "lstm",
        hidden_size: int = 256,
        num_layers: int = 1,
        embedding_dim: int | None = 64,
        dropout: float = 0.0,
        dtype: "DType" = "float32",
        seed: "Seed" = None,
    ) -> None:
        self.vocabulary = check_characters(vocabulary, "vocabulary")
        self._symbols = Vocabulary(vocabulary, level="character", specials=("unk",))
        self.cell = check_option(cell, "cell", tuple(CELLS))
        self.hidden_size = check_positive_int(hidden_size, "hidden_size")
        self.num_layers = check_positive_int(num_layers, "num_layers")
        self.embedding_dim = None if embedding_dim is None else check_positive_int(embedding_dim, "embedding_dim")
        self.dropout = check_number(dropout, "dropout", low=0, high=1)
        rng = check_generator(seed, "seed")
        symbols = len(self._symbols)
        if embedding_dim is None:
            first, width = OneHot(symbols, dtype=dtype), symbols
        else:
            first, width = Embedding(symbols, embedding_dim, dtype=dtype, seed=rng), embedding_dim
        super().__init__(
            first,
            CELLS[cell](width, hidden_size, num_layers, dropout=dropout, dtype=dtype, seed=rng),
            Linear(hidden_size, symbols, dtype=dtype, seed=rng),
            batch_first=False,
        )

    config = Module.config
    __reduce__ = Module.__reduce__

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The model that `config`, the constructor arguments, describes."""
        return cls(**check_arguments(cls, config))

    def encode(self, text: str) -> "Array":
        """The ids of a text's characters, int64 (len(text),)."""
        return self._symbols.encode(text)

    def decode(self, ids: "ArrayLike") -> str:
        """The text of ids; the replacement character stands for the unknown."""
        return self._symbols.decode(ids)

    def sample(self, length: int, *, prompt: "str | Sequence[str]" = "", **options: "Any") -> "Iterator[Any]":
        """Text drawn from the model, a character at a time.

        Parameters
        ----------
        length : int
        prompt : str or list of str
            What the text goes on from; a newline if empty. A list gives as many texts, drawn side by side.
        temperature, top_k, top_p, repetition_penalty, repetition_window, seed
            As for `fastrnn.decoding.sample`.

        Returns
        -------
        iterator of str, or of lists of str
            The characters after the prompt, or after each; the unknown one is never drawn.
        """
        prompts = [self.encode(one or "\n") for one in check_texts(prompt, "prompt")]
        ids = sample(self, prompts, length, forbid=[UNKNOWN], **options)
        return self._characters(ids, isinstance(prompt, str))

    def _characters(self, steps, one):
        for ids in steps:
            found = [self.vocabulary[k - 1] for k in ids]
            yield found[0] if one else found
