"""The command line. Each command is a function that adds its parser, beside the one that runs it."""

import argparse
import math
import os
import sys
import warnings

from ..check.values import check_number
from ..engine.runtime._pool import MOST as MOST_THREADS
from ..engine.runtime._stored import FORMATS

EXIT_ERROR = 2
EXIT_INTERRUPTED = 130
THREADS = "(default: as many as CPUs are usable)"


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, *args, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message):
        self.exit(EXIT_ERROR, f"{self.prog}: error: {_one_line(message)}\n")


def add_train(commands):
    parser = commands.add_parser(
        "train",
        help="train a character model on text",
        description="Train a character model on text; without TEXT on the English documentation\n"
        "inside Python. The last tenth of the text is held out. Prints bits per character after each\n"
        "epoch, and a sample at the end. The model is written to OUT, checkpoints beside it. Ctrl-C\n"
        "keeps what was reached.",
        epilog="examples:\n"
        "  fastrnn train\n"
        "  fastrnn train novel.txt --hidden 512 --seq-len 64 --epochs 10 --out novel.safetensors\n"
        "  fastrnn train roman.txt --encoding cp1251\n"
        "  fastrnn train novel.txt --out novel.safetensors --resume",
    )
    parser.add_argument("text", nargs="*", metavar="TEXT", help="text files, joined by newlines")
    _add_encoding(parser)
    cells = ("lstm", "gru", "rnn")
    parser.add_argument("--cell", choices=cells, help="kind of recurrent layer (default: lstm)")
    _add_whole(parser, "--hidden", "units per layer (default: 256)", high=100_000)
    _add_whole(parser, "--layers", "recurrent layers (default: 1)", high=1000)
    _add_whole(
        parser, "--epochs", "passes over the text (default: 1, more for texts under 400,000 characters)"
    )
    _add_whole(parser, "--seq-len", "characters that the gradient reaches back (default: 16)", high=1_000_000)
    _add_whole(parser, "--batch-size", "places of the text read at a time (default: 32)", high=1_000_000)
    _add_number(parser, "--lr", "highest learning rate (default: 0.01)", above=0)
    _add_number(parser, "--clip", "bound of the gradient's norm (default: 1.0)", above=0)
    _add_whole(parser, "--seed", "of the initial parameters (default: 0)", low=0)
    _add_whole(parser, "--threads", THREADS, high=MOST_THREADS)
    parser.add_argument("--out", default="model.safetensors", metavar="OUT", help="(default: %(default)s)")
    resume = "go on from the newest checkpoint of OUT, if there is one"
    parser.add_argument("--resume", action="store_true", help=resume)
    parser.set_defaults(run=run_train)


def run_train(args):
    from ..models.text import read_text
    from . import textjob

    _set_threads(args)
    names = textjob.DEFAULTS
    options = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    text = read_text(args.text, args.encoding)
    model = textjob.train(text, args.out, options, resume=args.resume)
    print(f"saved {args.out}; a sample:\n")
    # from the last whole words before the part held out: a start that the text itself would have
    prompt = textjob.split(text)[0][-200:].rpartition("\n\n")[2][-60:].partition(" ")[2]
    _write_sample(model, prompt, 400, temperature=0.7, seed=args.seed or 0)


def add_sample(commands):
    parser = commands.add_parser(
        "sample",
        help="write text with a character model",
        description="Write text with a character model that fastrnn train made.",
        epilog="examples:\n"
        "  fastrnn sample model.safetensors --prompt 'The ' --length 500\n"
        "  fastrnn sample model.safetensors --temperature 0.7 --top-p 0.9 --seed 1",
    )
    parser.add_argument("model", metavar="M", help="the model's file")
    parser.add_argument("--prompt", default="", help="what the text begins with")
    _add_whole(parser, "--length", "characters (default: %(default)s)", default=500)
    heat = "under 1 is safer, over 1 bolder, 0 always the likeliest (default: %(default)s)"
    _add_number(parser, "--temperature", heat, default=1.0, low=0)
    _add_whole(parser, "--top-k", "draw from the likeliest N characters only")
    _add_number(parser, "--top-p", "draw from the fewest with this probability together", above=0, high=1)
    penalty = "above 1 makes recent characters less likely (default: %(default)s)"
    _add_number(parser, "--repetition-penalty", penalty, default=1.0, above=0)
    _add_whole(parser, "--repetition-window", "how many characters count as recent (default: all)")
    _add_whole(parser, "--seed", "for the same text again", low=0)
    parser.set_defaults(run=run_sample)


def run_sample(args):
    _write_sample(
        _load_char_model(args.model),
        args.prompt,
        args.length,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        repetition_penalty=args.repetition_penalty,
        repetition_window=args.repetition_window,
        seed=args.seed,
    )


def add_eval(commands):
    parser = commands.add_parser(
        "eval",
        help="bits per character of a text",
        description="Print the bits per character that a model needs for a text, the state carried from its\n"
        "first character to its last.",
        epilog="example:\n  fastrnn eval model.safetensors novel.txt",
    )
    parser.add_argument("model", metavar="M", help="the model's file")
    parser.add_argument("text", metavar="TEXT", help="a text file")
    _add_encoding(parser)
    _add_whole(parser, "--threads", THREADS, high=MOST_THREADS)
    parser.set_defaults(run=run_eval)


def run_eval(args):
    from ..models.text import read_text
    from .textjob import bits_per_character

    _set_threads(args)
    bits = bits_per_character(_load_char_model(args.model), read_text([args.text], args.encoding), progress=True)
    print(f"{bits:.3f} bits per character")


def add_info(commands):
    parser = commands.add_parser(
        "info",
        help="what a model is, or what this installation uses",
        description="Describe a model's file; without M this installation: version, kernels, threads.",
        epilog="examples:\n  fastrnn info\n  fastrnn info model.safetensors",
    )
    parser.add_argument("model", nargs="?", metavar="M", help="a model's file")
    parser.set_defaults(run=run_info)


def run_info(args):
    if args.model is None:
        import fastrnn

        fastrnn.show_config()
        return
    from ..models.io import load

    model = load(args.model)
    config = model.config()
    print(f"{args.model}: {config.pop('type')}, {model.num_parameters:,} parameters, {model.dtype}")
    for name, value in config.items():
        _write(f"  {name}: {value!r}\n")
    for name, array in model.params.items():
        print(f"  {name} {array.shape}")


def add_bench(commands):
    from ..bench.cells import TABLES

    parser = commands.add_parser(
        "bench",
        help="measure against other libraries",
        description="Time the same work through fastrnn and every installed peer (PyTorch, ONNX Runtime, OpenVINO,\n"
        "JAX), in turn, each in a process of its own, after comparing their results. Exits with 1 if a\n"
        "library failed or its results differed.",
        epilog="examples:\n"
        "  fastrnn bench --quick\n"
        "  fastrnn bench --threads 1 --only step --only training --json results.json\n"
        "  fastrnn bench --blas --only sequence --only training",
    )
    parser.add_argument("--quick", action="store_true", help="a small part of the grid, under two minutes")
    counts = "measure with N threads only (default: with one and with all CPUs)"
    _add_whole(parser, "--threads", counts, high=MOST_THREADS)
    parser.add_argument("--json", metavar="F", help="write everything measured to this file")
    parser.add_argument("--plot", metavar="F", help="write a picture of the ratios to this file")
    tables = f"this table alone, of {', '.join(TABLES)}; may be repeated"
    parser.add_argument("--only", action="append", choices=tuple(TABLES), metavar="TABLE", help=tables)
    blas = "measure fastrnn with SciPy's BLAS for all products (FASTRNN_BLAS=1) in the place of other libraries"
    parser.add_argument("--blas", action="store_true", help=blas)
    parser.set_defaults(run=run_bench)


def run_bench(args):
    from ..bench import run

    return run(args.quick, args.threads, args.json, args.plot, args.only, args.blas)


def add_example(commands):
    parser = commands.add_parser(
        "example",
        help="run one of the examples, or list them",
        description="Run an example; without NAME list them. Exits with 1 if it does not show what it says.",
        epilog="examples:\n"
        "  fastrnn example\n"
        "  fastrnn example gradients --plot gradients.png\n"
        "  fastrnn example adding --quick",
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="which one")
    parser.add_argument("--data", metavar="PATH", help="its data, for those that read any")
    parser.add_argument("--plot", metavar="F", help="draw what it shows into this .png, .svg or .pdf")
    parser.add_argument("--quick", action="store_true", help="a slice that takes seconds and shows nothing")
    _add_whole(parser, "--seed", "of parameters and data (default: %(default)s)", low=0, default=0)
    _add_whole(parser, "--seeds", "run N times, of SEED and those after it; mean and range at the end", default=1)
    _add_whole(parser, "--threads", THREADS, high=MOST_THREADS)
    parser.set_defaults(run=run_example)


def run_example(args):
    from .. import examples

    if args.name is None:
        print(examples.listing())
        return 0
    _set_threads(args)
    return examples.run(args.name, args)


def add_convert(commands):
    parser = commands.add_parser(
        "convert",
        help="models of other systems, in and out",
        description="Read a model and write it as another kind of file, both by their extensions. IN is a .pt or .pth\n"
        "of PyTorch, a .safetensors of any program, an .npz of named arrays, a .keras or .h5 of Keras, or\n"
        "an .onnx; OUT a .safetensors, .pt, .npz or .onnx. Nothing in a file is run.",
        epilog="examples:\n"
        "  fastrnn convert model.pt model.safetensors --verify\n"
        "  fastrnn convert model.keras model.safetensors\n"
        "  fastrnn convert model.safetensors model.pt",
    )
    parser.add_argument("source", metavar="IN", help="the file to read")
    parser.add_argument("target", metavar="OUT", help="the file to write")
    parser.add_argument("--key", metavar="NAME", help="which state dict of a checkpoint of PyTorch")
    parser.add_argument("--config", metavar="F", help="what model.to_json() gave, for a file of Keras' weights alone")
    verify = "compare outputs with those of the framework, which has to be installed, and read OUT again"
    parser.add_argument("--verify", action="store_true", help=verify)
    parser.set_defaults(run=run_convert)


def run_convert(args):
    from .convert import convert

    for line in convert(args.source, args.target, key=args.key, config=args.config, verify=args.verify):
        _write(f"{line}\n")


def add_quantize(commands):
    parser = commands.add_parser(
        "quantize",
        help="a model's file with fewer bits a weight",
        description="Write a model for inference whose weights have 8 or 16 bits. With --calibrate compare it on data "
        "of its task: a text for a character model, an .npy file of inputs for others.",
        epilog="examples:\n  fastrnn quantize model.safetensors\n"
        "  fastrnn quantize model.safetensors --format bf16 --calibrate novel.txt --report --max-loss 1",
    )
    parser.add_argument("model", metavar="M", help="the model's file")
    parser.add_argument("--format", choices=FORMATS, default="int8", help="(default: %(default)s)")
    parser.add_argument("--out", metavar="OUT", help="(default: M with the format before its ending)")
    parser.add_argument("--calibrate", metavar="DATA", help="what to compare on")
    parser.add_argument("--report", action="store_true", help="tell errors, the task's metric, sizes and speeds")
    _add_number(parser, "--max-loss", "percent; refuse to write a model that loses more", low=0)
    _add_encoding(parser)
    _add_whole(parser, "--threads", THREADS, high=MOST_THREADS)
    parser.set_defaults(run=run_quantize)


def run_quantize(args):
    from .quantizing import quantize

    _set_threads(args)
    lines = quantize(args.model, weight_format=args.format, out=args.out, data=args.calibrate, report=args.report,
                     max_loss=args.max_loss, encoding=args.encoding)
    for line in lines:
        _write(f"{line}\n")


COMMANDS = (add_train, add_sample, add_eval, add_info, add_convert, add_quantize, add_example, add_bench)


def main(argv=None):
    """Run the command line; returns the exit code.

    0 is success, 2 bad input (one line on standard error says what), 130 an interrupt. Like argparse it
    raises SystemExit for options it does not know.
    """
    from .._version import __version__

    parser = Parser(prog="fastrnn", description="Recurrent neural networks on CPUs.")
    parser.add_argument("--version", action="version", version=f"fastrnn {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    args = parser.parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = args.run(args) or 0
            sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        return 1
    except (ValueError, TypeError, OSError, MemoryError, ImportError) as error:
        message = str(error) or type(error).__name__
        if type(error) is OSError and error.filename is None and not _takes_output():
            _drop_output()
            message = f"standard output: cannot be written: {error.strerror}"
        print(f"fastrnn: error: {_one_line(message)}", file=sys.stderr)
        return EXIT_ERROR
    except KeyboardInterrupt:
        print("fastrnn: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    return code


def _takes_output():
    """Whether standard output can be written, found by ending its line."""
    try:
        print(flush=True)
    except OSError:
        return False
    return True


def _drop_output():
    """Let Python's own flush at exit succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(message, *_):
    print(f"fastrnn: warning: {_one_line(message)}", file=sys.stderr)


def _one_line(message):
    return " ".join(str(message).split())


def _add_encoding(parser):
    help = "of the text files, as utf-16, latin-1 or cp1251 (default: %(default)s)"
    parser.add_argument("--encoding", default="utf-8", metavar="NAME", help=help)


def _add_whole(parser, flag, text, low=1, default=None, high=math.inf):
    """Add an option that takes a whole number of at least `low` and at most `high`."""
    wanted = f"of at least {low}" if high == math.inf else f"from {low} to {high}"

    def convert(given):
        try:
            if given.removeprefix("-").isdecimal() and low <= int(given) <= high:
                return int(given)
        except ValueError:  # more digits than int() takes
            given = f"{given[:20]}..."
        raise argparse.ArgumentTypeError(f"expected a whole number {wanted}, found {given!r}")

    parser.add_argument(flag, type=convert, metavar="N", help=text, default=default)


def _add_number(parser, flag, text, default=None, **bounds):
    """Add an option that takes a finite number in the bounds `low`, `above`, `high`."""
    words = {"low": "of at least", "above": "above", "high": "and at most"}
    wanted = " ".join(f"{words[name]} {bound}" for name, bound in bounds.items())

    def convert(given):
        try:
            return check_number(float(given), flag, **bounds)
        except ValueError:
            raise argparse.ArgumentTypeError(f"expected a number {wanted}, found {given!r}") from None

    parser.add_argument(flag, type=convert, metavar="X", help=text, default=default)


def _set_threads(args):
    if args.threads is not None:
        import fastrnn

        fastrnn.set_num_threads(args.threads)


def _load_char_model(path):
    from ..models.io import load
    from ..models.text import CharModel

    model = load(path)
    if not isinstance(model, CharModel):
        raise ValueError(f"{path}: expected a character model, found {type(model).__name__}")
    return model


def _write_sample(model, prompt, length, **options):
    characters = model.sample(length, prompt=prompt, **options)
    _write(prompt)
    for character in characters:
        _write(character)
    _write("\n")


def _write(text):
    """To standard output, with question marks for what its encoding has no place for."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
