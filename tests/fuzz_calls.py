"""Random calls of everything public: no signal, no hang, no memory beyond the sizes, only ValueError and TypeError.

    python tests/fuzz_calls.py --calls 1000000 --seed 0         # what is found, each kind once, with a short program
    python tests/fuzz_calls.py --case 1234                      # one case here, line by line
    python tests/fuzz_calls.py --private --calls 100000         # the compiled modules too: there, any error will do

A case is a number. From it follows a program of a few lines: objects of public classes, calls of their methods and of
functions, attributes that are set, most arguments of the right kind and some of any (`fuzz_values`). After a call that
fails, parameters, gradients and states must be as before. Programs run in processes of their own, many in a row; one
that ends by a signal, or does not end, is run again alone and shortened. `corpus_calls.py` holds what was found once.
"""

import argparse
import ast
import contextlib
import copy
import hashlib
import importlib
import inspect
import json
import mmap
import os
import pickle
import pkgutil
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import fuzz_values
import numpy as np
from corpus_calls import PROGRAMS
from fuzz_values import ALWAYS, BOUNDED, KINDS, Mine, module, wild

import fastrnn

SECONDS = 1.0           # of processor time, for one call
MEGABYTES = 50.0        # that a call may add to the largest size of the process
FREE = 20_000_000       # bytes of memory that there are, as far as the package knows
PATIENCE = 20.0         # seconds without a word from a process
TRACE = 1 << 17         # bytes of the file that holds the program that runs
FRAGILE = ("AttributeError", "KeyError", "IndexError")
SKIPPED = {
    "set_num_threads",              # changes the run itself; has tests of its own
    "DistributedTrainer", "launch", "Share", "Lifeline", "distributed",     # start processes
    "Spectrum", "Decay", "Gate", "Finding", "Weights", "Layer", "Diagnosis",    # plain records of results
    "Hypothesis", "Monitor", "Callback", "Optimizer", "Schedule", "Symbols", "Average", "Module", "plot_decays",
    "plot", "register_module",
    "History",                      # a dict
    "Metric",                       # calls a function of the caller's
    "NonFiniteError",               # Python checks the arguments of an error
}
# A trainer calls the methods of these, and only their constructors are anybody's.
DRIVEN = ("fastrnn.train.callbacks", "fastrnn.train.averaging", "fastrnn.diagnostics.monitor")
MODULES = ("losses", "metrics", "optim", "averaging", "schedules", "callbacks", "decoding", "text", "vocab", "bpe",
           "windows", "scaling", "audio", "diagnostics")
ALLOWED = (ValueError, TypeError, Mine)


def targets(private=False):
    """Everything public, as source."""
    found = {f"fastrnn.{name}" for name in fastrnn.__all__
             if callable(getattr(fastrnn, name)) and name not in SKIPPED}
    for home in MODULES:
        space = getattr(fastrnn, home)
        for name in getattr(space, "__all__", dir(space)):
            value = getattr(space, name)
            if (callable(value) and not name.startswith(("_", "check_")) and name not in SKIPPED
                    and getattr(value, "__module__", "").startswith(space.__name__)):
                found.add(f"fastrnn.{home}.{name}")
    with contextlib.suppress(ImportError):
        found.update(f"fastrnn.sklearn.{name}" for name in importlib.import_module("fastrnn.sklearn").__all__)
    if private:
        for one in pkgutil.walk_packages(fastrnn.engine.__path__, "fastrnn.engine."):
            space = importlib.import_module(one.name)
            if not space.__name__.endswith("._pool") and not space.__file__.endswith(".py"):
                found.update(f"{one.name}.{name}" for name, value in vars(space).items()
                             if callable(value) and not name.startswith("__") and name != "use_isa")
    return sorted(found)


class Found(Exception):
    """What a case has shown: `kind` tells it from others."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind


def namespace():
    """What programs refer to."""
    def csr_matrix(a):
        return importlib.import_module("scipy.sparse").csr_matrix(a)

    def listed(values, count=5):
        return [value for value, _ in zip(values, range(count))]

    names = {name: getattr(fuzz_values, name) for name in (
        "Liar", "Failing", "Changed", "Int", "Float", "Str", "List", "Dict", "recursive", "array", "Mine")}
    return {**names, "np": np, "fastrnn": fastrnn, "Path": Path, "Fraction": Fraction, "Decimal": Decimal,
            "copy": copy, "pickle": pickle, "csr_matrix": csr_matrix, "listed": listed}


def states(value):
    """Bytes of what a call that fails must leave as it was."""
    digest = hashlib.blake2b(digest_size=8)
    try:
        for name in "params", "grads":
            for key, p in (getattr(value, name, None) or {}).items():
                digest.update(key.encode())
                digest.update(np.ndarray.tobytes(p))
        core = getattr(value, "_core", None)
        if core is not None and hasattr(value, "state"):
            digest.update(pickle.dumps(value.state))
        optimizer = getattr(value, "_slots", None)
        if optimizer is not None:
            digest.update(pickle.dumps((optimizer, getattr(value, "steps", None))))
    except Exception:   # an earlier line has put something else there
        return None
    return digest.digest()


class Program:
    """Lines of Python that are run one by one."""

    def __init__(self, trace=None, private=False):
        self.lines, self.names, self.trace, self.private = [], namespace(), trace, private
        self.peak, self.altered = memory(), False   # whether an attribute has another value since

    def run(self, line, owner=None):
        """Runs a line; whether it raised nothing. Raises Found."""
        self.lines.append(line)
        if self.trace is not None:
            self.trace("\n".join(self.lines))
        setting = not line.startswith("v") or "." in line.split("=")[0]     # an attribute or an element
        value = self.names.get(owner) if owner else None
        before = None if value is None or setting else states(value)
        began = time.process_time()
        try:
            exec(compile(line, "<case>", "exec"), self.names)
        except ALLOWED as error:
            if not str(error) and not isinstance(error, Mine):
                raise Found(f"no words {where(error)}", f"{type(error).__name__} without words") from error
            failed = True
        except (AttributeError, KeyError, IndexError) as error:
            # Python's own words for a name or place of the program's that is not there, in a mapping of ours too,
            # and for an attribute that cannot be set
            if not self.private and inside(error) and not (setting and isinstance(error, AttributeError)) and (
                    frames(error)[-1].name != "__setitem__") and not self.altered:
                raise self.wrong(error) from error
            failed = True
        except NameError as error:      # a shorter program may lack a line that failed anyway
            if inside(error):
                raise self.wrong(error) from error
            failed = True
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            if not self.private and not isinstance(error, pickle.PicklingError) and not (
                    self.altered and isinstance(error, RecursionError)) and not (
                    setting and isinstance(error, OverflowError) and not inside(error)):    # NumPy's, of an array
                raise self.wrong(error) from error
            failed = True
        else:
            failed = False
            self.altered = self.altered or setting
        took = time.process_time() - began
        if took > SECONDS:
            raise Found(f"slow {shape_of(line)}", f"{took:.1f} s of processor time")
        now = memory()
        if now - self.peak > MEGABYTES:
            raise Found(f"memory {shape_of(line)}", f"{now - self.peak:.0f} MB more")
        self.peak = max(self.peak, now)
        if failed and before is not None and states(value) != before:
            raise Found(f"changed {shape_of(line)}", "a call that failed has changed parameters, gradients or states")
        return not failed

    @staticmethod
    def wrong(error):
        return Found(f"{type(error).__name__} {where(error)}", f"{type(error).__name__}: {str(error)[:200]}")


def frames(error):
    return [frame for frame in traceback.extract_tb(error.__traceback__)
            if f"{os.sep}fastrnn{os.sep}" in frame.filename]


def inside(error):
    """Whether an error comes from the package."""
    return bool(frames(error))


def where(error):
    """The place in the package that an error comes from."""
    found = frames(error)
    return f"{Path(found[-1].filename).name}:{found[-1].lineno}" if found else "outside"


def shape_of(line):
    """The name that a line calls, without its arguments."""
    return line.split("= ", 1)[-1].split("(")[0]


def memory():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def argument(r, name, pool=()):
    if name in BOUNDED:
        return r.choice(BOUNDED[name])
    if pool and r.random() < 0.15:
        return r.choice(pool)
    if name not in KINDS or r.random() < 0.12:
        return wild(r)
    return KINDS[name](r)


def arguments(r, function, pool=()):
    """Source of the arguments of a call."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except Exception:   # a compiled one, or an object that answers with errors of its own
        return ", ".join(wild(r) for _ in range(r.randrange(4)))
    args, named = [], []
    for p in parameters:
        if p.kind == p.VAR_POSITIONAL:
            args += [argument(r, p.name, pool) for _ in range(r.randrange(3))]
        elif p.kind == p.VAR_KEYWORD or p.name.startswith("_"):
            continue
        elif p.kind == p.KEYWORD_ONLY or named or (p.default is not p.empty):
            if p.default is p.empty or r.random() < 0.3 or p.name in ALWAYS:
                named.append(f"{p.name}={argument(r, p.name, pool)}")
        else:
            args.append(argument(r, p.name, pool))
    return ", ".join(args + named)


def attributes(value):
    return sorted({name for name in [*dir(type(value)), *getattr(value, "__dict__", ())] if not name.startswith("_")})


def is_ours(value):
    home = getattr(type(value), "__module__", None)
    return isinstance(home, str) and home.startswith("fastrnn") and not home.startswith(DRIVEN)


class Case:
    """The program that follows from a number."""

    def __init__(self, number, public, trace=None, private=False):
        self.r, self.public = random.Random(number), public
        self.program = Program(trace, private)
        self.objects, self.values, self.count = [], [], 0

    def run(self):
        """Runs it; the number of calls. Raises Found."""
        for _ in range(self.r.randrange(1, 9)):
            if not self.objects or self.r.random() < 0.2:
                self.make()
            else:
                self.use(self.r.choice(self.objects))
        return len(self.program.lines)

    def take(self, source, owner=None):
        """Runs `name = source` and keeps the value."""
        self.count += 1
        name = f"v{self.count}"
        if not self.program.run(f"{name} = {source}", owner):
            return None
        value = self.program.names[name]
        if is_ours(value):
            self.objects.append(name)
        if inspect.isgenerator(value) or (hasattr(value, "__next__") and type(value).__module__ == "builtins"):
            self.program.run(f"{name} = listed({name})")
        if value is not None and not (isinstance(value, str) and len(value) > 100_000):
            self.values.append(name)
            if isinstance(value, tuple):
                self.values += [f"{name}[{k}]" for k in range(min(len(value), 3))]
        return value

    def make(self):
        r = self.r
        if r.random() < 0.3:
            self.take(module(r))
        else:
            name = r.choice(self.public)
            self.take(f"{name}({arguments(r, eval(name, self.program.names), self.values)})")

    def use(self, name):
        r, value = self.r, self.program.names[name]
        what = r.random()
        if what < 0.12:
            self.program.run(f"{name}.{r.choice(attributes(value) or ['x'])} = {argument(r, '', self.values)}", name)
        elif what < 0.25 and callable(value):
            self.take(f"{name}({arguments(r, value, self.values)})", name)
        elif what < 0.30:
            self.take(r.choice([f"copy.copy({name})", f"copy.deepcopy({name})", f"pickle.loads(pickle.dumps({name}))",
                                f"repr({name})", f"len({name})", f"listed({name})", f"{name} == {name}",
                                f"type({name})(**{name}.config)", f"type({name}).from_config({name}.config)",
                                f"{name}[{wild(r)}]", f"hash({name})",
                                f"fastrnn.save({name}, 'a')", "fastrnn.load('a')"]), name)
        elif what < 0.36 and getattr(value, "params", None):
            self.parameter(name, value)
        elif what < 0.5 and hasattr(value, "forward"):
            self.passes(name, value)
        else:
            self.method(name, value)

    def parameter(self, name, value):
        """Something done to a parameter or a gradient."""
        r = self.r
        with contextlib.suppress(*ALLOWED, AttributeError):
            p = f"{name}.{r.choice(['params', 'grads'])}[{r.choice(list(value.params))!r}]"
            self.program.run(r.choice([
                f"{p} = {wild(r)}", f"{p}[...] = {r.choice(['np.nan', 'np.inf', '0', '1e30'])}", f"{p}.shape = (-1,)",
                f"{p}.resize(1, refcheck=False)", f"{p}.dtype = 'i4'", f"{p}.flags.writeable = False",
                f"{p}.strides = ({p}.itemsize,) * {p}.ndim", f"{name}.params.clear()",
                f"{name}.params.pop({r.choice(list(value.params))!r})"]))

    def passes(self, name, value):
        """Forward, and backward with what it gave or something else."""
        r = self.r
        result = self.take(f"{name}.forward({arguments(r, value.forward, self.values)})", name)
        if isinstance(result, tuple) and len(result) == 3:
            v = f"v{self.count}"
            for _ in range(r.choice([1, 1, 2])):
                dy = f"{v}[0]" if r.random() < 0.6 else argument(r, "dy", self.values)
                dstate = r.choice(["", f", {v}[1]", f", dstate={v}[1]", f", {wild(r)}"])
                self.take(f"{name}.backward({v}[2], {dy}{dstate})", name)

    def method(self, name, value):
        r = self.r
        attribute = r.choice(attributes(value) or ["x"])
        # scikit-learn makes the methods that end so, which it lets nobody call
        if attribute in SKIPPED or attribute.endswith("_request"):
            return
        try:
            method = getattr(value, attribute, None)
        except Exception:
            return
        if not callable(method):
            self.take(f"{name}.{attribute}", name)
        else:
            self.take(f"{name}.{attribute}({arguments(r, method, self.values)})", name)


def replay(text, trace=None, private=False):
    """Runs a program that was printed; raises Found."""
    program = Program(trace, private)
    for line in text.splitlines():
        owner = next((node.value.id for node in ast.walk(ast.parse(line)) if isinstance(node, ast.Attribute)
                      and isinstance(node.value, ast.Name) and node.value.id.startswith("v")), None)
        program.run(line, owner)


def shorter(text):
    """Programs that have a line or an argument less, or a simpler one."""
    lines = text.splitlines()
    for k in range(len(lines) - 1):
        yield "\n".join(lines[:k] + lines[k + 1:])
    for k in reversed(range(len(lines))):
        tree = ast.parse(lines[k])
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
        for node in calls:
            for part in node.keywords, node.args:
                for j in range(len(part)):
                    taken = part.pop(j)
                    yield "\n".join([*lines[:k], ast.unparse(tree), *lines[k + 1:]])
                    part.insert(j, taken)
            for part in node.args, node.keywords:
                for j, old in enumerate(part):
                    value = old.value if isinstance(old, ast.keyword) else old
                    if isinstance(value, (ast.Constant, ast.Name)):
                        continue
                    for simple in "1", "None", "array(0, (5, 2, 3))":
                        new = ast.parse(simple, mode="eval").body
                        part[j] = ast.keyword(old.arg, new) if isinstance(old, ast.keyword) else new
                        yield "\n".join([*lines[:k], ast.unparse(tree), *lines[k + 1:]])
                    part[j] = old


def shrink(text, shows, most=400):
    """The shortest program found that still shows the same."""
    tries, going = 0, True
    while going:
        going = False
        for new in shorter(text):
            tries += 1
            if tries > most:
                return text
            if len(new) < len(text) and shows(new):
                text, going = new, True
                break
    return text


def kind_of(text, private=False):
    """What kind a program shows, run here; None if nothing."""
    try:
        replay(text, private=private)
    except Found as found:
        return found.kind
    except SyntaxError:
        return None
    return None


def shortest(text, kind, private):
    """The shortest program that shows this kind, run here."""
    return shrink(text, lambda new: kind_of(new, private) == kind)


def settle():
    """This process as the cases want it: quiet, in a folder of its own, with little memory."""
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    from fastrnn import memory as said

    said.available, said.LITTLE_BYTES = (lambda: FREE), FREE
    folder = Path(tempfile.gettempdir()) / f"fuzz_calls_{os.getuid() if hasattr(os, 'getuid') else 0}"
    folder.mkdir(exist_ok=True)
    os.chdir(folder)
    sys.setrecursionlimit(400)
    for what in "scipy.special", "scipy.stats", "sklearn.utils", "fastrnn.sklearn":     # what is imported late
        with contextlib.suppress(ImportError):
            importlib.import_module(what)
    fastrnn.set_num_threads(2)


def limit_memory():
    """An allocation that nobody has checked fails in place of taking the machine's memory."""
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 3 * 2**30,) * 2)


class Trace:
    """The program that runs, in a file that outlives the process: (number of the case, its lines)."""

    def __init__(self, path):
        with open(path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), TRACE)
        self.number = self.beats = 0

    def __call__(self, text):
        self.beats += 1
        raw = json.dumps([self.number, self.beats, text]).encode()[:TRACE - 1] + b"\0"
        self.map[:len(raw)] = raw

    def read(self):
        raw = self.map[:].split(b"\0")[0]
        try:
            return json.loads(raw)
        except ValueError:
            return [0, 0, ""]


def work(first, calls, path, private):
    """Runs cases from `first` on until there were so many calls; a line of JSON for each that shows something."""
    out = os.fdopen(os.dup(1), "w")
    for stream in 1, 2:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)
    settle()
    limit_memory()
    public, trace, shown, made, number = targets(private), Trace(path), set(), 0, first
    for warm in range(150):     # what is made once
        with contextlib.suppress(Found):
            Case(-1 - warm, public, private=private).run()
    while made < calls:
        trace.number = number
        case = Case(number, public, trace, private)
        try:
            made += case.run()
        except Found as found:
            made += len(case.program.lines)
            kind, text = found.kind, "\n".join(case.program.lines)
            if kind not in shown:
                shown.add(kind)
                del case
                # what takes long or memory only once was made in that call
                if not kind.startswith(("slow", "memory")) or kind_of(text, private) == kind:
                    short = text if kind.startswith("memory") else shortest(text, kind, private)
                    print(json.dumps({"case": number, "kind": kind, "text": str(found), "program": short}),
                          file=out, flush=True)
        except Exception:
            print(json.dumps({"case": number, "kind": "fuzzer", "text": traceback.format_exc(), "program": ""}),
                  file=out, flush=True)
        number += 1
    print(json.dumps({"end": number, "calls": made}), file=out, flush=True)


def alone(text, private, seconds=15):
    """How a program ends in a process of its own: its exit code, or None where it does not end."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", delete=False) as file:
        file.write(text)
    command = [sys.executable, __file__, "--replay", file.name, *(["--private"] if private else [])]
    try:
        return subprocess.run(command, capture_output=True, timeout=seconds, check=False, env=hard()).returncode
    except subprocess.TimeoutExpired:
        return None
    finally:
        os.unlink(file.name)


def hard():
    """Memory that is freed or not yet written shows."""
    return {**os.environ, "MALLOC_CHECK_": "3", "MALLOC_PERTURB_": "165", "PYTHONFAULTHANDLER": "1"}


def search(first, calls, private=False, report=print, chunk=20000):
    """Runs cases in processes of their own; the dict of kind -> (case, text, program) and the calls made."""
    shown, made, number = {}, 0, first

    def show(kind, case, text, program):
        if kind not in shown:
            shown[kind] = (case, text, program)
            report(f"case {case}: {text}\n    " + program.replace("\n", "\n    "))

    while made < calls:
        with tempfile.NamedTemporaryFile(delete=False) as file:
            file.write(bytes(TRACE))
        trace = Trace(file.name)
        command = [sys.executable, __file__, "--work", str(number), str(min(chunk, calls - made)), file.name,
                   *(["--private"] if private else [])]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=hard())
        os.set_blocking(process.stdout.fileno(), False)
        ended, beats, heard, rest = None, 0, time.monotonic() + 60, b""
        while ended is None and process.poll() is None:
            time.sleep(0.05)
            rest, ended = answers(process, rest, show)
            now = trace.read()[1]
            if now != beats:
                beats, heard = now, max(heard, time.monotonic()) if not beats else time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                process.kill()
        code = process.wait()
        ended = ended or answers(process, rest, show)[1]
        if ended:
            number, made = ended["end"], made + ended["calls"]
        else:
            case, beats, text = trace.read()
            made += max(1, beats)
            number = max(case, number) + 1
            short, end = confirmed(text, private)
            if end is not None or code not in (-signal.SIGKILL, 0):
                how = f"ends with {code}" if code != -signal.SIGKILL else "does not end"
                show(f"{how} {shape_of(text.splitlines()[-1] if text else '')}", case,
                     how if end is not None else f"{how}, but not alone", short)
        os.unlink(file.name)
        report(f"{made} of {calls} calls, case {number}, {len(shown)} kinds shown")
    return shown, made


def answers(process, rest, show):
    """(what is left of a line, the last answer if it came) of a process."""
    text = process.stdout.read()
    *lines, rest = (rest + (text or b"")).split(b"\n")
    ended = None
    for line in lines:
        said = json.loads(line)
        if "end" in said:
            ended = said
        else:
            show(said["kind"], said["case"], said["text"], said["program"])
    return rest, ended


def confirmed(text, private):
    """(a shorter program, how it ends) for one that ended a process; None for the end if it is well alone."""
    end = alone(text, private)
    if end in (0, 1):
        return text, None
    return shrink(text, lambda new: alone(new, private) == end, most=60), end or "hang"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=20000, help="how many calls (default: 20000)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first case (default: 0)")
    parser.add_argument("--private", action="store_true", help="the compiled modules too")
    parser.add_argument("--case", type=int, help="run this one here, with its traceback")
    parser.add_argument("--replay", help="run the programs of a file here")
    parser.add_argument("--corpus", action="store_true", help="run the programs that once went wrong")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(int(options.work[0]), int(options.work[1]), options.work[2], options.private)
    elif options.case is not None:
        settle()
        Case(options.case, targets(options.private), print, options.private).run()
    elif options.replay or options.corpus:
        programs = PROGRAMS if options.corpus else Path(options.replay).read_text().split("\n\n")
        settle()
        limit_memory()
        wrong = 0
        for text in programs:
            try:
                replay(text, private=options.private)
            except Found as found:
                wrong += 1
                print(f"{found}\n    " + text.replace("\n", "\n    "))
        print(f"{len(programs)} programs" + (f", {wrong} shown" if wrong else ""))
        sys.exit(bool(wrong))
    else:
        shown, made = search(options.seed, options.calls, options.private,
                             report=lambda line: print(line, flush=True))
        print(f"{made} calls, {len(shown)} kinds shown")
        sys.exit(bool(shown))


if __name__ == "__main__":
    main()
