"""Translation: a GRU with attention turns German captions of pictures into English ones, with beam search.

The data are Multi30k (Elliott et al. 2016): 29,000 pairs to train, 1,014 to choose the epoch, the 1,000 of test 2016
to report, lower-cased, normalised and split into words as its authors did. The network is that of Bahdanau et al.
(2015): a bidirectional encoder, and a decoder that reads a weighted sum of the encoder's states at each step. A word of
the training pairs that is there only once is unknown; words of the references are never replaced.

BLEU is sacreBLEU's on these words, its signature printed, greedy (the likeliest word each time) and by beam search.
What is published was found greedily: a tutorial's, without label smoothing and split into words otherwise, and that of
three LSTM layers with attention (Lample et al. 2018), lower-cased as here.

What chose the settings: the perplexity of the 1,014 validation pairs.
"""

import functools
import gzip
import time
from typing import NamedTuple

from fastrnn import Adam, Seq2Seq, Trainer, losses
from fastrnn.callbacks import EarlyStopping
from fastrnn.examples.files import find_data, save_figure
from fastrnn.schedules import OneCycle
from fastrnn.vocab import Vocabulary

TIME = "7 min on two cores"
PUBLISHED = (
    "greedy: Trevett, PyTorch Seq2Seq, tutorial 4: BLEU 28.3 by the same network at twice the width; Lample et al.\n"
    "2018 (arXiv 1711.00043), table 2, supervised: 38.38 by LSTM with attention; held to here: 30, greedy"
)
RESULT = "BLEU 36.2 greedily, 38.0 by beam search; published greedily 28.3 at twice the width, and 38.38"
OPTIONS = ("data", "plot")
BLEU = 30.0
PARTS = {"train": "train", "valid": "val", "test": "test_2016_flickr"}
LANGUAGES = "de", "en"
WIDTH, DROPOUT, SMOOTHING, RATE, BATCH, EPOCHS = 256, 0.3, 0.1, 0.002, 64, 6
BEAM, PENALTY, LONGEST = 8, 1.0, 60


class Pairs(NamedTuple):
    """source, target : lists of lists of words, one German and one English caption for each number."""

    source: list
    target: list


def read_pairs(path):
    """dict of "train", "valid", "test" -> `Pairs`, from the folder with the authors' tokenised files."""
    folder = find_data(path, "multi30k")
    found = {}
    for part, name in PARTS.items():
        files = [folder / f"{name}.lc.norm.tok.{language}.gz" for language in LANGUAGES]
        for file in files:
            if not file.is_file():
                raise ValueError(f"--data: expected a folder with {file.name}, found none in {folder}")
        lines = [gzip.decompress(file.read_bytes()).decode("utf-8").splitlines() for file in files]
        found[part] = Pairs(*([line.split() for line in column] for column in lines))
    return found


class Corpus:
    """Pairs as ids: the vocabularies of the training pairs, and ``ids(pairs)``."""

    def __init__(self, train):
        self.source = Vocabulary.build(train.source, min_count=2, specials=("unk",))
        self.target = Vocabulary.build(train.target, min_count=2, specials=("unk", "bos", "eos"))

    def ids(self, pairs):
        """(X, y): lists of int arrays."""
        return list(map(self.source.encode, pairs.source)), list(map(self.target.encode, pairs.target))

    def words(self, ids):
        """The words of a translation, in one string."""
        return " ".join(self.target.decode(ids).split())


def build(corpus, seed, width=WIDTH):
    """Bidirectional GRU, additive attention, GRU; the width is that of the embeddings and of each state."""
    return Seq2Seq(
        len(corpus.source),
        len(corpus.target),
        cell="gru",
        embedding_dim=width,
        hidden_size=width,
        attention="additive",
        readout_size=width,
        dropout=DROPOUT,
        bos=corpus.target.bos,
        eos=corpus.target.eos,
        seed=seed,
    )


LOSS = functools.partial(losses.cross_entropy, label_smoothing=SMOOTHING)


def make_trainer(model, count, epochs, seed, callbacks=()):
    """A trainer for `count` pairs."""
    return Trainer(
        model,
        LOSS,
        Adam(RATE),
        clip_norm=1.0,
        schedule=OneCycle(RATE, epochs * -(-count // BATCH), rise=0.1),
        metrics=["perplexity"],
        callbacks=callbacks,
        seed=seed,
    )


def bleu(found, references):
    """(corpus BLEU, sacreBLEU's signature) of words as they are, lower-cased and split at spaces; Papineni et al. 2002.
    """
    try:
        from sacrebleu import BLEU as Metric
    except ImportError:
        raise ImportError('translation: expected sacrebleu: pip install "fastrnn[translation]"') from None
    metric = Metric(tokenize="none", force=True)
    return metric.corpus_score(found, [references]).score, str(metric.get_signature())


def translated(model, corpus, pairs, **options):
    """The likeliest translations of the sources, strings."""
    X, _ = corpus.ids(pairs)
    found = model.translate(X, **{"beam_size": BEAM, "length_penalty": PENALTY, "max_length": LONGEST, **options})
    return [corpus.words(hypotheses[0].labels) for hypotheses in found]


def main(args):
    bleu(["a"], ["a"])  # before the training
    data = read_pairs(args.data)
    if args.quick:
        data = {part: Pairs(pairs.source[:200], pairs.target[:200]) for part, pairs in data.items()}
    corpus = Corpus(data["train"])
    train, valid = corpus.ids(data["train"]), corpus.ids(data["valid"])
    model = build(corpus, args.seed, 32 if args.quick else WIDTH)
    print(f"{len(train[0]):,} pairs to train; {len(corpus.source):,} German and {len(corpus.target):,} English words; "
          f"{model.num_parameters:,} parameters", flush=True)

    started = time.perf_counter()
    epochs = 1 if args.quick else EPOCHS
    choice = EarlyStopping("val_loss", patience=3)
    trainer = make_trainer(model, len(train[0]), epochs, args.seed, [choice])
    trainer.fit(*train, epochs=epochs, batch_size=BATCH, validation_data=valid)
    print(f"{trainer.epoch} epochs in {time.perf_counter() - started:.0f} s, the best {choice.best_epoch}: "
          f"validation perplexity {min(trainer.history['val_perplexity']):.2f}", flush=True)
    figures = report(model, corpus, data["test"])
    if args.plot is not None:
        draw(model, corpus, data["test"], args.plot)
        print(f"\nsaved {args.plot}")
    return figures


def shown(figures):
    return figures["greedy"] >= BLEU


def report(model, corpus, pairs):
    """Print BLEU by the likeliest word each time and by beam search, and some translations; dict of both."""
    references = [" ".join(words) for words in pairs.target]
    started = time.perf_counter()
    found = translated(model, corpus, pairs)
    taken = time.perf_counter() - started
    greedy = [corpus.words(ids) for ids in model.generate(corpus.ids(pairs)[0], max_length=LONGEST)]
    (likeliest, signature), (searched, _) = bleu(greedy, references), bleu(found, references)
    print(f"BLEU on test 2016: greedy {likeliest:.2f}, beam of {BEAM} {searched:.2f} "
          f"({1000 * taken / len(found):.0f} ms a sentence)\n{signature}\n")
    for k in range(0, len(found), max(1, len(found) // 4)):
        print(f"  {' '.join(pairs.source[k])}\n  -> {found[k]}\n  =  {references[k]}")
    return {"greedy": likeliest, "beam": searched}


def draw(model, corpus, pairs, path):
    """Which German words the decoder looked at for each English one."""
    from matplotlib.figure import Figure

    X, _ = corpus.ids(pairs)
    chosen = [k for k in range(len(X)) if 8 <= len(X[k]) <= 12][:4] or [0]
    X = [X[k] for k in chosen]
    ids = [hypotheses[0].labels for hypotheses in model.translate(X, beam_size=BEAM, length_penalty=PENALTY,
                                                                   max_length=LONGEST)]
    maps = model.attention_weights(X, ids)
    figure = Figure(figsize=(10, 2.5 + 2.2 * len(chosen)), layout="constrained")
    grid = figure.subplots(-(-len(chosen) // 2), 2 if len(chosen) > 1 else 1, squeeze=False)
    for axes, k, own, weights in zip(grid.ravel(), chosen, ids, maps):
        image = axes.imshow(weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axes.set_xticks(range(weights.shape[1]), pairs.source[k], rotation=60, ha="right", fontsize=8)
        axes.set_yticks(range(len(own) + 1), [*corpus.words(own).split(), "(end)"], fontsize=8)
    figure.colorbar(image, ax=grid, label="weight of the German word", shrink=0.5)
    figure.suptitle("What the decoder attends to for each word of its translation", fontsize=10)
    save_figure(figure, path)
