"""The command line: results, exit codes, one line for every mistake, interruption and resumption."""

import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fastrnn import CharModel, Linear, load, save
from fastrnn.cli import main, textjob

TEXT = (
    "the cat sat on the mat; the rat sat on the cat. what did the mat say? nothing at all, it was a mat.\n"
    * 40
)
SMALL = ["--hidden", "16", "--batch-size", "4", "--seq-len", "8"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with a text, and a model and its checkpoints from two epochs."""
    directory = tmp_path_factory.mktemp("trained")
    (directory / "text.txt").write_text(TEXT)
    assert (
        main(["train", str(directory / "text.txt"), "--epochs", "2", *SMALL, "--out", str(directory / "m")])
        == 0
    )
    return directory


def run(*arguments, **options):
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "fastrnn", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=120,
        **options,
    )


def call(capsys, *arguments):
    """The command in this process: (exit code, standard output, standard error)."""
    capsys.readouterr()
    try:
        code = main([str(a) for a in arguments])
    except SystemExit as error:
        code = error.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def assert_one_line_of_error(result, message):
    code, out, err = result
    assert code == 2 and out == ""
    assert err.count("\n") == 1 and "Traceback" not in err
    assert re.search(message, err), err


def held_out_bits(output):
    return [float(bits) for bits in re.findall(r"(\d+\.\d{3}) bits per character held out", output)]


# train


def test_training_reports_samples_and_saves(tmp_path):
    (tmp_path / "a").write_text(TEXT[:2000])
    (tmp_path / "b").write_text(TEXT[2000:])
    result = run(
        "train",
        "a",
        "b",
        "--epochs",
        2,
        *SMALL,
        "--lr",
        0.02,
        "--out",
        "m.safetensors",
        "--threads",
        1,
        cwd=tmp_path,
    )
    assert result.returncode == 0 and "Traceback" not in result.stderr
    assert "text: 4,001 characters, the last 400 held out" in result.stdout
    assert re.search(r"epoch 1/2: .*\nepoch 2/2: .*\nsaved m.safetensors; a sample:\n\n", result.stdout)
    first, second = held_out_bits(result.stdout)
    assert second < first < 5
    model = load(tmp_path / "m.safetensors")
    assert isinstance(model, CharModel) and (model.cell, model.hidden_size, model.num_layers) == (
        "lstm",
        16,
        1,
    )
    assert model.vocabulary == "".join(sorted(set(TEXT)))
    sample = result.stdout.partition("a sample:\n\n")[2]
    assert 401 < len(sample) <= 461 and set(sample) <= set(TEXT)  # a prompt of at most 60 from the text, 400 drawn
    assert not [name for name in os.listdir(tmp_path) if name.endswith(".tmp")]


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_cell_and_depth_trains(cell, trained, tmp_path, capsys):
    code, out, _ = call(
        capsys,
        "train",
        trained / "text.txt",
        *SMALL,
        "--cell",
        cell,
        "--layers",
        2,
        "--epochs",
        1,
        "--clip",
        0.5,
        "--out",
        tmp_path / "m",
    )
    assert code == 0 and len(held_out_bits(out)) == 1
    model = load(tmp_path / "m")
    assert (model.cell, model.num_layers) == (cell, 2)


def test_the_same_seed_gives_the_same_model(trained, tmp_path, capsys):
    for seed in (0, 1):
        call(
            capsys,
            "train",
            trained / "text.txt",
            *SMALL,
            "--epochs",
            2,
            "--seed",
            seed,
            "--out",
            tmp_path / str(seed),
        )
    assert (tmp_path / "0").read_bytes() == (trained / "m").read_bytes() != (tmp_path / "1").read_bytes()


def test_short_texts_get_more_epochs(trained, tmp_path, capsys):
    code, out, _ = call(capsys, "train", trained / "text.txt", *SMALL, "--hidden", 2, "--out", tmp_path / "m")
    assert code == 0 and len(held_out_bits(out)) == 20


def test_eval_agrees_with_the_held_out_figure(trained, tmp_path, capsys):
    (tmp_path / "held").write_text(TEXT[-(len(TEXT) // 10) :])
    _, out, _ = call(capsys, "train", trained / "text.txt", *SMALL, "--epochs", 2, "--out", tmp_path / "m")
    code, found, err = call(capsys, "eval", tmp_path / "m", tmp_path / "held")
    assert (code, found, err) == (0, f"{held_out_bits(out)[-1]:.3f} bits per character\n", "")


def test_eval_is_the_mean_over_the_whole_text(trained, tmp_path, capsys):
    text = "the mat ☃ sat\n" * 100
    (tmp_path / "t").write_text(text, encoding="utf-8")
    model = load(trained / "m")
    ids = model.encode(text)
    logits = model(ids[:-1, None])[0][:, 0].astype(np.float64)
    bits = (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), ids[1:]]).mean() / np.log(2)
    assert call(capsys, "eval", trained / "m", tmp_path / "t")[1] == f"{bits:.3f} bits per character\n"


def test_files_of_another_encoding(trained, tmp_path, capsys):
    (tmp_path / "t").write_text(TEXT + "é☃", encoding="utf-16")
    (tmp_path / "u").write_text(TEXT + "é☃", encoding="utf-8")
    said = [call(capsys, "train", tmp_path / name, *options, *SMALL, "--epochs", 1, "--out", tmp_path / "m")
            for name, options in [("t", ["--encoding", "utf-16"]), ("u", [])]]
    assert said[0][0] == 0 and held_out_bits(said[0][1]) == held_out_bits(said[1][1])
    first, second = (call(capsys, "eval", trained / "m", tmp_path / name, *options)
                     for name, options in [("t", ["--encoding", "utf-16"]), ("u", [])])
    assert first == second and first[0] == 0
    assert_one_line_of_error(call(capsys, "eval", trained / "m", tmp_path / "t"), "expected UTF-8 text, found byte 0x")


# resume


def copy_run(trained, directory):
    for name in os.listdir(trained):
        (directory / name).write_bytes((trained / name).read_bytes())


def killed_after(checkpoints, directory, *arguments):
    """Start the command with a checkpoint after every update, and kill it after some of them."""
    code = (
        "import sys\nfrom fastrnn import cli\nfrom fastrnn.cli import textjob\ntextjob.CHECKPOINT_SECONDS = 0\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        cwd=directory,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        numbers = [int(name.split(".")[-2]) for name in os.listdir(directory) if name.endswith(".ckpt")]
        if numbers and max(numbers) >= checkpoints:
            break
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "the run was over before it could be killed"


def test_a_killed_run_goes_on_to_the_same_model(trained, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    arguments = ["train", "text.txt", "--epochs", 2, *SMALL, "--out", "m"]
    for checkpoints in (20, 150):
        killed_after(checkpoints, tmp_path, *arguments, *(["--resume"] if checkpoints > 20 else []))
    result = run("train", "text.txt", "--out", "m", "--resume", cwd=tmp_path)
    assert result.returncode == 0 and "goes on from m.0000" in result.stdout
    assert (tmp_path / "m").read_bytes() == (trained / "m").read_bytes()


def test_a_damaged_newest_checkpoint_is_passed_over(trained, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    killed_after(30, tmp_path, "train", "text.txt", "--epochs", 2, *SMALL, "--out", "m")
    newest = max(tmp_path.glob("*.ckpt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    result = run("train", "text.txt", "--out", "m", "--resume", cwd=tmp_path)
    assert result.returncode == 0
    assert re.match(
        rf"fastrnn: warning: skipped: {newest.name}: expected a fastrnn checkpoint", result.stderr
    )
    assert (tmp_path / "m").read_bytes() == (trained / "m").read_bytes()


def test_resume_starts_afresh_without_a_checkpoint(trained, tmp_path, capsys):
    code, out, _ = call(
        capsys, "train", trained / "text.txt", *SMALL, "--epochs", 2, "--out", tmp_path / "m", "--resume"
    )
    assert code == 0 and "goes on" not in out
    assert (tmp_path / "m").read_bytes() == (trained / "m").read_bytes()


def test_resume_after_the_end_trains_the_epochs_that_are_missing(trained, tmp_path, capsys):
    copy_run(trained, tmp_path)
    arguments = ["train", tmp_path / "text.txt", "--out", tmp_path / "m", "--resume"]
    code, out, _ = call(capsys, *arguments)
    assert code == 0 and held_out_bits(out) == []
    assert (tmp_path / "m").read_bytes() == (trained / "m").read_bytes()
    code, out, _ = call(capsys, *arguments, "--epochs", 3)
    assert code == 0 and len(held_out_bits(out)) == 1 and "epoch 3/3" in out


def test_without_resume_older_checkpoints_go(trained, tmp_path, capsys):
    copy_run(trained, tmp_path)
    code, out, _ = call(
        capsys, "train", tmp_path / "text.txt", *SMALL, "--epochs", 1, "--out", tmp_path / "m"
    )
    assert code == 0 and len(held_out_bits(out)) == 1
    steps = [int(name.split(".")[-2]) for name in os.listdir(tmp_path) if name.endswith(".ckpt")]
    assert max(steps) < max(
        int(name.split(".")[-2]) for name in os.listdir(trained) if name.endswith(".ckpt")
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--hidden", "32"], r"--hidden: expected 16 as in .*\.ckpt, found 32"),
        (["--seq-len", "16"], r"--seq-len: expected 8 as in"),
        (["--cell", "gru"], r"--cell: expected lstm as in .*\.ckpt, found gru"),
        (["--seed", "3"], r"--seed: expected 0 as in"),
    ],
)
def test_resume_with_other_options_is_an_error(options, message, trained, capsys):
    arguments = ["train", trained / "text.txt", "--out", trained / "m", "--resume", *options]
    assert_one_line_of_error(call(capsys, *arguments), message)


def test_resume_with_another_text_is_an_error(trained, tmp_path, capsys):
    (tmp_path / "other").write_text(TEXT + "x")
    result = call(capsys, "train", tmp_path / "other", "--out", trained / "m", "--resume")
    assert_one_line_of_error(
        result, r"--resume: expected the text that .*\.ckpt was trained on, found another"
    )


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to another process")
def test_an_interrupt_saves_and_resume_goes_on(trained, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    long = ["train", "text.txt", "--epochs", "2", *SMALL, "--out", "m"]
    code = (
        "import os, signal, sys\nfrom fastrnn import cli\nfrom fastrnn.cli import textjob\n"
        "class Interrupted(textjob.Report):\n"
        "    def on_step_end(self, trainer, logs):\n"
        "        if trainer.step == 70: os.kill(os.getpid(), signal.SIGINT)\n"
        "textjob.Report = Interrupted\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "sys.exit(cli.main(sys.argv[1:]))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *long],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 130 and "Traceback" not in result.stderr
    assert "interrupted: m and its checkpoint hold what was reached; --resume goes on" in result.stderr
    assert isinstance(load(tmp_path / "m"), CharModel)
    assert run("train", "text.txt", "--out", "m", "--resume", cwd=tmp_path).returncode == 0
    assert (tmp_path / "m").read_bytes() == (trained / "m").read_bytes()


# sample, info


def test_samples_follow_seed_and_options(trained, capsys):
    def sample(*options):
        code, out, err = call(capsys, "sample", trained / "m", "--length", 50, *options)
        assert (code, err) == (0, "")
        return out

    one = sample("--prompt", "the ", "--seed", 1)
    assert one.startswith("the ") and len(one) == 4 + 50 + 1
    assert one == sample("--prompt", "the ", "--seed", 1) != sample("--prompt", "the ", "--seed", 2)
    greedy = sample("--temperature", 0)
    assert greedy == sample("--temperature", 0) == sample("--top-k", 1) == sample("--top-p", 0.01)
    assert greedy != sample("--temperature", 0, "--repetition-penalty", 3, "--repetition-window", 5)
    assert len(sample()) == 51


def test_a_terminal_without_the_characters_gets_question_marks(tmp_path):
    save(CharModel("é☃", hidden_size=4, embedding_dim=2, seed=0), tmp_path / "m")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    result = run("sample", tmp_path / "m", "--prompt", "a☃", "--length", 5, env=environment)
    assert (result.returncode, result.stdout, result.stderr) == (0, "a??????\n", "")
    result = run("info", tmp_path / "m", env=environment)
    assert result.returncode == 0 and "vocabulary: '??'" in result.stdout


def test_info_of_a_model(trained, capsys):
    code, out, _ = call(capsys, "info", trained / "m")
    assert code == 0
    assert "CharModel" in out and "hidden_size: 16" in out and "1.weight_hh_l0 (64, 16)" in out


def test_info_of_the_installation(capsys):
    code, out, _ = call(capsys, "info")
    assert code == 0 and "fastrnn" in out and "threads" in out and "instruction set" in out


def test_help_has_examples(capsys):
    for command in ("train", "sample", "eval", "info"):
        code, out, _ = call(capsys, command, "--help")
        assert code == 0 and f"  fastrnn {command}" in out.partition("example")[2]
    code, out, _ = call(capsys, "--help")
    assert code == 0 and all(command in out for command in ("train", "sample", "eval", "info"))
    assert call(capsys, "--version")[1].startswith("fastrnn ")


def test_help_tells_the_defaults(capsys):
    text = " ".join(call(capsys, "train", "--help")[1].split())
    for name, value in textjob.DEFAULTS.items():
        flag = "--" + name.replace("_", "-")
        assert re.search(rf"{flag} [^-]*\(default: {1 if name == 'epochs' else value}\b", text), flag


def test_a_reader_that_leaves_is_no_error(trained):
    process = subprocess.Popen(
        [sys.executable, "-m", "fastrnn", "sample", trained / "m", "--length", "100000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.read(100)
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read() and process.wait(timeout=60) == 1
    process.stderr.close()


# Mistakes


FILES = {
    "empty": b"",
    "short": b"too short",
    "binary": b"\x80\x81" * 2000,
    "text": TEXT.encode(),
    "pickle": b"\x80\x04\x95" + b"x" * 100,
}

MISTAKES = [
    ("train text --threads 300", "argument --threads: expected a whole number from 1 to 256, found '300'"),
    ("eval model text --threads 300", "argument --threads: expected a whole number from 1 to 256"),
    ("bench --threads 300", "argument --threads: expected a whole number from 1 to 256"),
    (f"train text --layers {'9' * 20}", "argument --layers: expected a whole number from 1 to 1000, found"),
    (f"train text --layers {'9' * 9999}", "argument --layers: expected a whole number from 1 to 1000, found"),
    ("train text --batch-size 1000001", "argument --batch-size: expected a whole number from 1 to 1000000"),
    ("train text --seq-len 1000001", "argument --seq-len: expected a whole number from 1 to 1000000"),
    ("bench --only foo", "argument --only: invalid choice: 'foo'"),
    ("train missing.txt", r"missing\.txt: no such file"),
    ("train empty", "empty: expected text, found an empty file"),
    ("train binary", "binary: expected UTF-8 text, found byte 0x80 at offset 0"),
    ("train text --encoding utf-9", "encoding: expected the name of an encoding of text .* found 'utf-9'"),
    ("eval model binary --encoding ascii", "binary: expected ascii text, found byte 0x80 at offset 0; encoding names"),
    ("train short", "text: expected at least 570 characters .* found 9"),
    ("train .", "cannot be read: Is a directory"),
    ("train text --out nowhere/m", "nowhere/m: cannot be written: No such file or directory"),
    ("train text --out .", "cannot be written: Is a directory"),
    ("train text --hidden 0", "argument --hidden: expected a whole number from 1 to 100000, found '0'"),
    ("train text --hidden many", "argument --hidden: expected a whole number from 1 to 100000, found 'many'"),
    ("train text --lr 0", "argument --lr: expected a number above 0, found '0'"),
    ("train text --lr nan", "argument --lr: expected a number above 0, found 'nan'"),
    ("train text --seed -1", "argument --seed: expected a whole number of at least 0, found '-1'"),
    ("train text --threads 0", "argument --threads: expected a whole number from 1 to 256"),
    ("train text --cell elman", "argument --cell: invalid choice: 'elman'"),
    ("train text --hiden 3", "unrecognized arguments: --hiden 3"),
    ("train text --hid 3", "unrecognized arguments: --hid 3"),
    ("train text --lr", "argument --lr: expected one argument"),
    ("sample", "the following arguments are required: M"),
    ("sample missing", "missing: no such file"),
    ("sample text", r"text: expected a fastrnn model, found a file of \d+ bytes that is not safetensors"),
    ("sample pickle", "pickle: expected a fastrnn model, found a file of 103 bytes that is not safetensors"),
    ("sample empty", "empty: expected a fastrnn model, found an empty file"),
    ("sample linear", "linear: expected a character model, found Linear"),
    ("sample model --temperature -1", "argument --temperature: expected a number of at least 0, found '-1'"),
    ("sample model --top-p 1.5", "argument --top-p: expected a number above 0 and at most 1, found '1.5'"),
    ("sample model --top-k 0", "argument --top-k: expected a whole number of at least 1"),
    ("eval model", "the following arguments are required: TEXT"),
    ("eval model missing", "missing: no such file"),
    ("eval model empty", "empty: expected text, found an empty file"),
    ("eval model one", "text: expected at least 2 characters, found 1"),
    ("eval text text", "text: expected a fastrnn model"),
    ("info missing", "missing: no such file"),
    (
        "info cut",
        r"cut: expected a fastrnn model, found a truncated or damaged safetensors file of 400 bytes",
    ),
    ("", "the following arguments are required: COMMAND"),
    ("trian", "invalid choice: 'trian'"),
]


@pytest.mark.parametrize("line, message", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(line, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "one").write_text("1")
    save(Linear(2, 2, seed=0), "linear")
    save(CharModel("abc", hidden_size=4, embedding_dim=2, seed=0), "model")
    (tmp_path / "cut").write_bytes((tmp_path / "model").read_bytes()[:400])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert_one_line_of_error(call(capsys, *line.split()), message)
    assert before == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


def test_mistakes_in_a_process(tmp_path):
    for arguments in (["train", "missing"], ["train", "--unknown"], ["eval", "a", "b"]):
        result = run(*arguments, cwd=tmp_path)
        assert_one_line_of_error((result.returncode, result.stdout, result.stderr), "^fastrnn")


def test_no_space_for_the_model_is_one_line(trained, tmp_path, capsys, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = call(capsys, "train", trained / "text.txt", *SMALL, "--epochs", 1, "--out", tmp_path / "m")
    assert code == 2 and re.fullmatch(
        r"fastrnn: error: .*m.*: cannot be written: No space left on device\n", err
    )
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_standard_output_is_named():
    with open("/dev/full", "w") as full:
        result = subprocess.run(
            [sys.executable, "-m", "fastrnn", "info"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    expected = "fastrnn: error: standard output: cannot be written: No space left on device\n"
    assert (result.returncode, result.stderr) == (2, expected)
