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
    """Parts of words as ids; what `encode` and `decode` do is told by `fastrnn.vocab.Symbols`.

    Made by `train` or `from_config`. A space is part of the word after it, so that decoding gives the text back, with
    single spaces and without those around it. A character that training has not seen is "unk", or left out without it.

    Parameters
    ----------
    tokenizer : str
        The trained tokenizer as JSON of the tokenizers package.
    specials : sequence of "pad", "unk", "bos" and "eos"
        Ids 0, 1, ... in this order.

    Attributes
    ----------
    pad, unk, bos, eos : int or None
        Ids of the specials.

    Raises
    ------
    ImportError
        Where the package is missing, with what installs it.
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
        except BaseException as error:  # the package raises Exception itself, and where it panics another
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
            Symbols, specials and single characters included.
        min_count : int
            Pairs that are there less often are not joined.
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
        # What is typed as "<eos>" in a text is no end: the specials are ids that only encode() gives
        plain["added_tokens"] = []
        return cls(json.dumps(plain, ensure_ascii=False), specials)

    @property
    def symbols(self) -> list[str]:
        """The parts of words in the order of their ids; a lower block stands for a space before."""
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
