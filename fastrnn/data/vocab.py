"""Vocabularies: the words or characters of texts as ids, and back."""

import functools
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from ..check.symbols import check_ids, check_texts
from ..check.values import check_bool, check_entries_of, check_option, check_positive_int, shown
from ..files.tensorfile import parse_json
from ..files.wholefile import error_text, naming, read_whole, write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any, Literal

    from typing_extensions import Self

    from .._types import Array, ArrayLike, PathLike

LEVELS = ("word", "character")
SPECIALS = ("pad", "unk", "bos", "eos")
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # decodes a character that is not in the vocabulary
# Of letters and marks that nothing joins (Latin, Greek, Cyrillic, Han, kana, Hangul), `_SIMPLE_WORD` makes
# the same as `_unicode`, in half the time.
_SIMPLE = re.compile("[\0-\u02ff\u0370-\u0482\u048a-\u052f\u2010-\u2027\u2030-\u205e\u3000-\u3020\u3041-\u3096"
                     "\u30a0-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff01-\uff5e]*")
_SIMPLE_WORD = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")


def words(text: str) -> list[str]:
    """The words and marks of a text, in order, as they are written.

    A word is of letters with their accents and vowel signs, digits and "_", joined by inner ', ’ and -. All else that
    is no space stands alone, as readers see it: a flag or a family is one mark (grapheme clusters of Unicode Standard
    Annex 29). Nothing but space is lost, and no normal form is changed.

    Text that was split into tokens before is better split at its spaces: ``text.split()``. Scripts that put no space
    between words, such as Thai and Chinese, come as long as they run; a segmenter of that language gives the words.
    """
    return (_SIMPLE_WORD if _SIMPLE.fullmatch(text) else _unicode()).findall(text)


@functools.cache
def _unicode():
    import regex  # takes longer to import than most of what is here

    letter, space = r"[\p{L}\p{M}\p{N}\p{Join_Control}_]", r"\s\x1c-\x1f"
    # a sign that Unicode puts before others would take a space or a digit with it
    cluster = rf"(?=[^{space}\p{{Grapheme_Cluster_Break=Prepend}}])\X|[^{space}]"
    return regex.compile(rf"{letter}+(?:['’-]{letter}+)*|{cluster}")


class Symbols:
    """Base of classes that turn texts into ids: the special ids, which come first, and the common methods.

    A subclass defines ``_ids(text)``, ``_text(ids)``, ``__len__`` and the arguments that `config` names.
    """

    arguments: tuple[str, ...] = ()
    specials: list[str]
    pad: int | None
    unk: int | None
    bos: int | None
    eos: int | None

    def __init__(self, specials: "Sequence[str]") -> None:
        self.specials = check_specials(specials)
        for name in SPECIALS:
            setattr(self, name, self.specials.index(name) if name in self.specials else None)

    def encode(self, text: "str | Sequence[str]", *, bos: bool = False, eos: bool = False) -> "Array":
        """The ids of a text, int64 (n,).

        Parameters
        ----------
        text : str, or a sequence of words if symbols are words
        bos, eos : bool
            Whether to put the id of the beginning before the text, and that of the end after it.

        Raises
        ------
        ValueError
            For a symbol that is not in a vocabulary without "unk", or for a special that the vocabulary lacks.
        """
        before = [self._special("bos")] if check_bool(bos, "bos") else []
        after = [self._special("eos")] if check_bool(eos, "eos") else []
        return np.concatenate([before, self._ids(text), after]).astype(np.int64)

    def decode(self, ids: "ArrayLike") -> str:
        """The text of ids (n,), up to the first "eos", without "pad" and "bos".

        Raises
        ------
        ValueError, TypeError
            For a value that is no id of this vocabulary.
        """
        ids = check_ids(ids, "ids", len(self))
        if ids.ndim != 1:
            raise ValueError(f"ids: expected shape (n,), found {ids.shape}")
        if self.eos is not None and (ids == self.eos).any():
            ids = ids[: np.argmax(ids == self.eos)]
        left_out = [k for k in (self.pad, self.bos) if k is not None]
        return self._text(ids[~np.isin(ids, left_out)])

    def config(self) -> "dict[str, Any]":
        """dict for `from_config`: plain values, for a model's configuration, a checkpoint's notes or JSON."""
        return {name: getattr(self, name) for name in self.arguments}

    @classmethod
    def from_config(cls, config: "dict[str, Any]") -> "Self":
        """The object of this `config`."""
        if not isinstance(config, Mapping) or config.keys() != set(cls.arguments):
            found = ", ".join(map(str, config)) if isinstance(config, Mapping) else type(config).__name__
            raise ValueError(f"config: expected {', '.join(cls.arguments)}; found {found}")
        return cls(**config)

    def save(self, path: "PathLike") -> None:
        """Write the `config` to `path` as JSON, in one step."""
        write_whole(path, (json.dumps(self.config(), ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))

    @classmethod
    def load(cls, path: "PathLike") -> "Self":
        """The object that `save` wrote to `path`; a ValueError names a file that is missing or no vocabulary."""
        text = read_whole(path)
        try:
            config = parse_json(text.decode("utf-8", "surrogatepass"))
        except (ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{path}: expected a vocabulary as JSON, found {error_text(error)}") from None
        with naming(path, f"a {cls.__name__}"):
            return cls.from_config(config)

    def __eq__(self, other):
        return type(self) is type(other) and self.config() == other.config()

    __hash__ = None

    def __repr__(self):
        return f"<{type(self).__name__} of {len(self)}: {', '.join(self.specials) or 'no specials'}>"

    def _special(self, name):
        found = getattr(self, name)
        if found is None:
            raise ValueError(f"{name}: expected a vocabulary with {name!r}, found one with "
                             f"{', '.join(self.specials) or 'no specials'}")
        return found


def check_specials(specials: "Sequence[str]") -> list[str]:
    """A list of some of `SPECIALS`, each once, in that order."""
    found = check_entries_of(specials, "specials", f"some of {', '.join(SPECIALS)}")
    for k, name in enumerate(found):
        check_option(name, f"specials[{k}]", SPECIALS)
    if found != [name for name in SPECIALS if name in found]:
        raise ValueError(f"specials: expected each once, in the order {', '.join(SPECIALS)}; found {', '.join(found)}")
    return found


class Vocabulary(Symbols):
    """The words, or characters, that a model knows: each has an id, after those of the specials.

    Parameters
    ----------
    symbols : str, or sequence of str
        In the order of their ids, each once: a string of characters, or words.
    level : "word" or "character"
        Whether a text is split into words, by `words`, or into characters.
    specials : sequence of "pad", "unk", "bos" and "eos"
        Ids 0, 1, ... in this order: padding, all unknown symbols, the beginning and the end of a text.

    Attributes
    ----------
    pad, unk, bos, eos : int or None
        Ids of the specials.

    Raises
    ------
    ValueError, TypeError
        Naming the argument, what was expected and what was found.

    Examples
    --------
    >>> v = Vocabulary.build(["the cat", "the dog"], specials=("unk", "eos"))
    >>> v.symbols, v.encode("the fox", eos=True).tolist(), v.decode([2, 4, 1])
    (['the', 'cat', 'dog'], [2, 0, 1], 'the dog')
    """

    arguments = ("symbols", "level", "specials")
    symbols: "str | list[str]"

    def __init__(self, symbols: "str | Sequence[str]", *, level: "Literal['word', 'character']" = "word",
                 specials: "Sequence[str]" = SPECIALS) -> None:
        super().__init__(specials)
        self.level = check_option(level, "level", LEVELS)
        first = len(self.specials)
        if level == "character":
            self.symbols = check_characters(symbols, "symbols")
            points = _points(self.symbols)
            order = np.argsort(points, kind="stable")
            self._sorted_points, self._sorted_ids = points[order], order + first
        else:
            self.symbols = _check_words(symbols, "symbols")
            self._id_of = {symbol: k for k, symbol in enumerate(self.symbols, first)}

    @classmethod
    def build(cls, texts: "Iterable[Any]", *, level: "Literal['word', 'character']" = "word", min_count: int = 1,
              max_size: int | None = None, specials: "Sequence[str]" = SPECIALS) -> "Self":
        """The vocabulary of texts.

        Parameters
        ----------
        texts : str, or iterable of str; for words also iterable of sequences of words
        level, specials
            As for `Vocabulary`.
        min_count : int
            Least number of occurrences of a symbol.
        max_size : int, optional
            Most symbols, without the specials; keeps the most frequent ones.

        Returns
        -------
        Vocabulary
            Words by frequency, the most frequent first; characters by code point.
        """
        check_option(level, "level", LEVELS)
        check_positive_int(min_count, "min_count")
        if max_size is not None:
            check_positive_int(max_size, "max_size")
        counts = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            counts.update(_split(text, level, "texts"))
        frequent = sorted((symbol for symbol in counts if counts[symbol] >= min_count), key=lambda s: (-counts[s], s))
        kept = frequent[:max_size]
        if level == "character":
            kept = "".join(sorted(kept))
        return cls(kept, level=level, specials=specials)

    def __len__(self) -> int:
        return len(self.specials) + len(self.symbols)

    def __contains__(self, symbol):
        """Whether the symbol has its own id."""
        return isinstance(symbol, str) and (symbol in self._id_of if self.level == "word" else
                                            len(symbol) == 1 and symbol in self.symbols)

    def _ids(self, text):
        tokens = _split(text, self.level, "text")
        ids = self._look_up(tokens)
        if self.unk is None and (ids < 0).any():
            raise ValueError(f"text: expected symbols of the vocabulary, which has no 'unk'; "
                             f"found {tokens[int(np.argmax(ids < 0))]!r}")
        return ids

    def _look_up(self, tokens):
        unknown = -1 if self.unk is None else self.unk
        if self.level == "word":
            return np.array([self._id_of.get(token, unknown) for token in tokens], np.int64)
        points = _points(tokens)
        at = np.minimum(np.searchsorted(self._sorted_points, points), len(self._sorted_points) - 1)
        return np.where(self._sorted_points[at] == points, self._sorted_ids[at], unknown)

    def _text(self, ids):
        first = len(self.specials)
        unknown, space = (REPLACEMENT, "") if self.level == "character" else ("<unk>", " ")
        return space.join(self.symbols[k - first] if k >= first else unknown for k in ids.tolist())


def check_characters(text: str, name: str) -> str:
    """A string of at least one character, without repetitions."""
    if not isinstance(text, str):
        raise TypeError(f"{name}: expected a string of characters, found {type(text).__name__}")
    return _each_once(text, name, "character")


def _check_words(words, name):
    """A list of non-empty strings, without repetitions."""
    found = [None] if isinstance(words, str) else check_entries_of(words, name, "a sequence of words")
    if not all(isinstance(word, str) for word in found):
        raise TypeError(f"{name}: expected a sequence of words, found {shown(words)}")
    if "" in found:
        raise ValueError(f"{name}: expected words, found an empty one")
    return _each_once(found, name, "word")


def _each_once(symbols, name, what):
    symbol, count = Counter(symbols).most_common(1)[0] if symbols else ("", 0)
    if count != 1:
        found = shown(symbols) + (f", with {symbol!r} {count} times" if count else "")
        raise ValueError(f"{name}: expected at least one {what}, and each only once, found {found}")
    return symbols


def _split(text, level, name):
    """The symbols of a text."""
    if level == "character":
        check_texts(text, name)
        return text if isinstance(text, str) else "".join(text)
    if isinstance(text, str):
        return words(text)
    return check_texts(text, name)


def _points(text):
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
