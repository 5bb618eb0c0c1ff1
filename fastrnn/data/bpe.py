"""Byte-pair encoding of texts (Sennrich et al. 2016), by the tokenizers package: pip install "fastrnn[text]"."""

import importlib.util
import json
from typing import TYPE_CHECKING

from ..check.symbols import check_texts
from ..check.values import check_positive_int
from .vocab import SPECIALS, Symbols

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Self


class BPE(Symbols):
    """Parts of words as ids; for `encode` and `decode` see `fastrnn.vocab.Symbols`.

    Use `train` or `from_config` to make one. A space is part of the word after it, so decoding restores the text, with
    single spaces and without those around it. A character that training has not seen is "unk", or omitted without it.

    Parameters
    ----------
    tokenizer : str
        The trained tokenizer in the JSON of the tokenizers package.
    specials : sequence of "pad", "unk", "bos" and "eos"
        Ids 0, 1, ... in this order.

    Attributes
    ----------
    pad, unk, bos, eos : int or None
        Ids of the specials.

    Raises
    ------
    ImportError
        If the package is missing, with the command that installs it.
    ValueError, TypeError
        Naming the argument, what was expected and what was found.
    """

    arguments = ("tokenizer", "specials")

    def __init__(self, tokenizer: str, specials: "Sequence[str]" = SPECIALS) -> None:
        super().__init__(specials)
        if not isinstance(tokenizer, str):
            raise TypeError(f"tokenizer: expected a string of JSON, found {type(tokenizer).__name__}")
        package = _tokenizers()
        try:
            self._tokenizer = package.Tokenizer.from_str(tokenizer)
        except BaseException as error:  # the package raises Exception, or another class when it panics
            if isinstance(error, (KeyboardInterrupt, SystemExit, GeneratorExit)):
                raise
            raise ValueError(f"tokenizer: expected JSON of the tokenizers package, found {error}") from None
        found = [self._tokenizer.id_to_token(k) for k in range(len(self.specials))]
        if found != [f"<{name}>" for name in self.specials]:
            raise ValueError(f"tokenizer: expected one whose first ids are {', '.join(self.specials)}; "
                             f"found {', '.join(map(str, found))}")
        self.tokenizer = tokenizer

    @classmethod
    def train(cls, texts: "Sequence[str]", size: int, *, min_count: int = 2,
              specials: "Sequence[str]" = SPECIALS) -> "Self":
        """Learn the parts of words from texts.

        Parameters
        ----------
        texts : list of str
        size : int
            Number of symbols, with specials and single characters.
        min_count : int
            Least number of occurrences of a pair that is joined.
        specials
            As for `BPE`.

        Returns
        -------
        BPE
            With up to `size` symbols.
        """
        texts = check_texts(texts, "texts")
        size, min_count = check_positive_int(size, "size"), check_positive_int(min_count, "min_count")
        names = [f"<{name}>" for name in Symbols(specials).specials]
        package = _tokenizers()
        unknown = "<unk>" if "<unk>" in names else None
        tokenizer = package.Tokenizer(package.models.BPE(unk_token=unknown))
        tokenizer.normalizer = package.normalizers.Sequence([
            package.normalizers.Replace(package.Regex(r"\s+"), " "), package.normalizers.Strip(),
        ])  # fmt: skip
        tokenizer.pre_tokenizer = package.pre_tokenizers.Metaspace()
        tokenizer.decoder = package.decoders.Metaspace()
        trainer = package.trainers.BpeTrainer(vocab_size=size, min_frequency=min_count, special_tokens=names,
                                              show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        plain = json.loads(tokenizer.to_str())
        # "<eos>" in a text is no end: only encode() adds the ids of specials
        plain["added_tokens"] = []
        return cls(json.dumps(plain, ensure_ascii=False), specials)

    @property
    def symbols(self) -> list[str]:
        """The parts of words in the order of their ids; a lower block means a space before."""
        return [self._tokenizer.id_to_token(k) for k in range(len(self.specials), len(self))]

    def __len__(self) -> int:
        return self._tokenizer.get_vocab_size()

    def _ids(self, text):
        if not isinstance(text, str):
            raise TypeError(f"text: expected a string, found {type(text).__name__}")
        return self._tokenizer.encode(text).ids

    def _text(self, ids):
        return self._tokenizer.decode(ids.tolist())


def _tokenizers():
    if importlib.util.find_spec("tokenizers") is None:
        raise ImportError('BPE: expected the package tokenizers, found none: pip install "fastrnn[text]"')
    import tokenizers

    return tokenizers
