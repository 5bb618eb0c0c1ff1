"""Character models of text: reading, vocabulary, network, and sampling."""

from pathlib import Path

import numpy as np

from ._check import check_generator, check_option, check_texts
from .decoding.sampling import sample
from .layers import Embedding, Linear
from .module import Module
from .runners import GRU, LSTM, RNN
from .sequential import Sequential
from .tensorfile import FileError, MissingFileError

CELLS = {"lstm": LSTM, "gru": GRU, "rnn": RNN}
UNKNOWN = 0  # the id of whatever is not in the vocabulary
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_text(paths=()):
    """The texts of UTF-8 files joined by newlines; without any, the documentation inside Python itself.

    Parameters
    ----------
    paths : sequence of str or path-like

    Raises
    ------
    ValueError
        Naming the file that is missing (then it is a FileNotFoundError too), cannot be read (an OSError),
        is empty, or is not UTF-8.
    """
    if not paths:
        from pydoc_data.topics import topics

        return "\n".join(topics.values())
    return "\n".join(_read_file(Path(path)) for path in paths)


def _read_file(path):
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingFileError(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ValueError(f"{path}: expected text, found an empty file")
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: expected UTF-8 text, found byte 0x{data[error.start]:02x} at offset {error.start}"
        ) from None


class CharModel(Sequential):
    """A recurrent network that predicts the next character: Embedding, recurrent layers, Linear.

    Parameters
    ----------
    vocabulary : str
        The characters it knows, each once. Character k has id k + 1; id 0 stands for all others.
    cell : "lstm", "gru" or "rnn"
    hidden_size, num_layers, embedding_dim : int
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
        vocabulary,
        *,
        cell="lstm",
        hidden_size=256,
        num_layers=1,
        embedding_dim=64,
        dropout=0.0,
        dtype="float32",
        seed=None,
    ):
        if not isinstance(vocabulary, str):
            raise TypeError(f"vocabulary: expected a string of characters, found {type(vocabulary).__name__}")
        if not vocabulary or len(set(vocabulary)) != len(vocabulary):
            raise ValueError(
                f"vocabulary: expected at least one character and each only once, found {vocabulary!r}"
            )
        self.vocabulary = vocabulary
        self.cell = check_option(cell, "cell", tuple(CELLS))
        self.hidden_size, self.num_layers, self.embedding_dim = hidden_size, num_layers, embedding_dim
        self.dropout = dropout
        rng = check_generator(seed, "seed")
        symbols = len(vocabulary) + 1
        super().__init__(
            Embedding(symbols, embedding_dim, dtype=dtype, seed=rng),
            CELLS[cell](embedding_dim, hidden_size, num_layers, dropout=dropout, dtype=dtype, seed=rng),
            Linear(hidden_size, symbols, dtype=dtype, seed=rng),
            batch_first=False,
        )
        order = np.argsort(self._points(vocabulary), kind="stable")
        self._sorted_points, self._sorted_ids = self._points(vocabulary)[order], order + 1

    config = Module.config
    __reduce__ = Module.__reduce__

    @classmethod
    def from_config(cls, config):
        """The model that `config`, the constructor arguments, describes."""
        return cls(**config)

    def encode(self, text):
        """The ids of a text's characters, int64 (len(text),)."""
        points = self._points(text)
        at = np.minimum(np.searchsorted(self._sorted_points, points), len(self._sorted_points) - 1)
        return np.where(self._sorted_points[at] == points, self._sorted_ids[at], UNKNOWN)

    def decode(self, ids):
        """The text of ids; the replacement character stands for the unknown."""
        return "".join(REPLACEMENT if k == UNKNOWN else self.vocabulary[k - 1] for k in ids)

    def sample(self, length, *, prompt="", **options):
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

    @staticmethod
    def _points(text):
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
