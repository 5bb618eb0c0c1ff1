"""Every public name of fastrnn in use, for type checkers; tests/test_typed.py runs mypy on it. It is never run."""

from pathlib import Path
from typing import Any

import numpy as np

import fastrnn
import fastrnn.audio
import fastrnn.averaging
import fastrnn.bpe
import fastrnn.callbacks
import fastrnn.decoding
import fastrnn.diagnostics
import fastrnn.distributed
import fastrnn.io
import fastrnn.losses
import fastrnn.memory
import fastrnn.metrics
import fastrnn.optim
import fastrnn.scaling
import fastrnn.schedules
import fastrnn.sklearn
import fastrnn.text
import fastrnn.vocab
import fastrnn.windows
from fastrnn import (
    ELU,
    GELU,
    GRU,
    LSTM,
    QRNN,
    RNN,
    SGD,
    SRU,
    ActivationRegularization,
    Adagrad,
    Adam,
    AdamW,
    AdaptiveSoftmax,
    Attention,
    AttentionPooling,
    AvgPool1d,
    BatchNorm1d,
    CharModel,
    Concat,
    Conv1d,
    Dropout,
    Embedding,
    Flatten,
    GRUCell,
    Hardsigmoid,
    History,
    Inputs,
    LaneStream,
    LastStep,
    LayerNorm,
    LeakyReLU,
    Linear,
    LogSoftmax,
    LSTMCell,
    MaxOverTime,
    MaxPool1d,
    MeanOverTime,
    MinGRU,
    MinLSTM,
    Module,
    NonFiniteError,
    ReLU,
    Residual,
    Reverse,
    RMSprop,
    RNNCell,
    SampledSoftmax,
    Seq2Seq,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Softplus,
    Tanh,
    Trainer,
)
from fastrnn.callbacks import EarlyStopping
from fastrnn.losses import mse

x = np.zeros((5, 2, 3), np.float32)
ids = np.zeros((2, 5), np.int64)
rng = np.random.default_rng(0)


def runners() -> None:
    lstm = LSTM(3, 4, 2, dropout=0.1, bidirectional=True, zoneout=(0.1, 0.2), init={"scheme": "default"}, seed=rng)
    y, (h, c) = lstm(x, (None, np.zeros((4, 2, 4))), lengths=[5, 3])
    print(y.shape, h.shape, c.shape, lstm.output_size + lstm.hidden_size, lstm.dtype.name, lstm.num_parameters)
    for layer in (RNN(3, 4, nonlinearity="relu", clip=5.0), GRU(3, 4, reset_after=False, direction="reverse"),
                  MinGRU(3, 4), MinLSTM(3, 4), SRU(3, 4, highway_bias=-1.0), QRNN(3, 4, window=3)):
        y, state, tape = layer.forward(x, seed=1)
        dx, dstate = layer.backward(tape, np.ones_like(y))
        print(state, dx, dstate)
        layer.zero_grad()
        layer.recompute = True
        print(layer.freeze("weight_*").frozen, layer.unfreeze().num_parameters)
    ragged, _ = GRU(3, 4, activations=("sigmoid", ("affine", 1.0, 0.0)))([x[:, 0], x[:2, 1]])
    print([part.shape for part in ragged])
    weights: dict[str, np.ndarray] = lstm.state_dict()
    lstm.load_state_dict(weights)
    lstm.params["weight_ih_l0"][...] = 0
    stream = GRU(3, 4).stream(2)
    out: np.ndarray = stream.step(x[0])
    print(out, stream.run(x))
    stream.state = stream.copy().state
    stream.reset()
    h = RNNCell(3, 4)(x[0])
    h, c = LSTMCell(3, 4, peepholes=True)(x[0])
    h = GRUCell(3, 4, layer_norm=True)(x[0], h)


def networks() -> None:
    net = Sequential(Embedding(9, 3), LSTM(3, 4), ActivationRegularization(2.0, 1.0), LayerNorm(4), Dropout(0.2),
                     Linear(4, 9), batch_first=True)
    y, state = net(ids)
    print(y, state)
    scored = Sequential(Embedding(9, 3, sparse=True), LSTM(3, 16), AdaptiveSoftmax(16, 90, [20, 40], head_bias=True))
    print(scored(ids, target=ids), SampledSoftmax(4, 90, 20, sparse=True).n_classes)
    Sequential(GRU(3, 4), LastStep(), Linear(4, 1)).set_rng(rng)
    pooled: np.ndarray = Sequential(GRU(3, 4), MeanOverTime())(x)
    print(pooled, net.modules[1].hidden_size, Attention("dot", 4, 4).kind, fastrnn.__version__)
    fastrnn.save(net, Path("net.safetensors"))
    net = fastrnn.load("net.safetensors")
    small = fastrnn.quantize(net, "int8")
    narrow: LSTM = LSTM(3, 4).quantize("bf16")
    print(small, narrow.weight_format)
    fastrnn.io.save(net, "net.safetensors")
    fastrnn.io.load("net.safetensors")
    chars = CharModel("abc ", cell="gru", embedding_dim=None)
    print("".join(chars.sample(20, prompt="a", temperature=0.7)), chars.decode(chars.encode("abc")))
    print(fastrnn.text.read_text(["a.txt"], "cp1251"), fastrnn.text.OneHot(4)(ids))
    graph = fastrnn.from_onnx("model.onnx")
    outputs: dict[str, np.ndarray] = graph.run({"x": x, "n": [1, 2]})
    session = graph.stream(2, states={"h_in": "h_out"}, initial={"h_in": x})
    print(outputs, session.step({"x": x})["y"], session.state, session.copy().states, graph.inputs["x"][1])
    session.reset()
    print(graph.to_module().num_parameters)
    for node, runner in fastrnn.onnx_layers(b"model").items():
        print(node, runner(x)[0])
    fastrnn.to_onnx(net, Path("net.onnx"), states=True, lengths=True)
    fastrnn.to_onnx(Seq2Seq(9, 9), "encoder.onnx", part="encoder")
    mlp = Sequential(Linear(3, 4), ReLU(), LeakyReLU(0.1), ELU(alpha=0.5), GELU("tanh"), SiLU(), Tanh(), Sigmoid(),
                     Softplus(2.0, threshold=10), Hardsigmoid(), Linear(4, 2))
    scores: np.ndarray = mlp(x)
    print(Softmax()(scores), LogSoftmax(dim=-1)(scores), mlp.stream(2).step(x[0]))
    wide = Concat(Residual(GRU(3, 3)), Sequential(Reverse(), GRU(3, 2), Reverse()), batch_first=False)
    y, state = wide(x, lengths=[5, 3])
    print(y, state, wide.direction, Sequential(wide, Flatten(), Linear(25, 2))(x), Residual(Linear(3, 3)).stream(2))
    pooled = Sequential(AvgPool1d(2), BatchNorm1d(3, momentum=None), MaxPool1d(3, stride=1, padding=1),
                        Concat(MaxOverTime(), AttentionPooling(3, 5)))(x)
    print(pooled, AttentionPooling(3).stream(2).step(x[0]), MaxOverTime().stream(2).run(x))
    named = Sequential(Inputs(text=Sequential(Embedding(9, 3), GRU(3, 4), LastStep()), row=Linear(5, 2)), Linear(6, 2))
    print(named({"text": [ids[0], ids[1, :2]], "row": np.zeros((2, 5))}), named.input_names)
    front: np.ndarray = Sequential(Conv1d(3, 8, 5, 2, padding=2, bias=False), Conv1d(8, 4, 3, padding="causal"))(x)
    print(front, Conv1d(3, 4, 3, padding="causal").stream(2).run(x), Conv1d(3, 4, 3).output_lengths(np.array([5])))
    translator = Seq2Seq(9, 9, attention="general", attention_at="output", dropout=0.1)
    print(translator.translate([ids[0]], beam_size=2)[0][0].labels, translator.generate([ids[0]], seed=0))
    print(translator.attention_weights([ids[0]], [ids[1]])[0].shape, translator([ids[0]], target=[ids[1]]).shape)


class Printer(fastrnn.callbacks.Callback):
    def on_epoch_end(self, trainer: Trainer, logs: dict[str, float]) -> None:
        print(trainer.epoch, logs["loss"])
        trainer.stop = logs["loss"] < 0.1


class Scale(Module):
    def __init__(self, factor: float, dtype: Any = "float32") -> None:
        super().__init__(dtype)
        self.factor = factor

    def __call__(self, x: Any, lengths: Any = None) -> Any:
        return x * self.factor

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> Any:
        return x * self.factor, None, self.save_for_backward(x.shape)

    def backward(self, tape: Any, dy: Any = None, dstate: Any = None) -> Any:
        (shape,) = self.saved_values(tape)
        return np.zeros(shape) if dy is None else dy * self.factor, None


fastrnn.register_module(Scale, "scale")

class Batches:
    def __len__(self) -> int:
        return 3

    def __getitem__(self, k: int) -> tuple[Any, Any]:
        return x[k : k + 1], x[k : k + 1, 0, :1]


def training() -> None:
    callbacks: list[fastrnn.callbacks.Callback] = [
        Printer(), EarlyStopping(patience=3), fastrnn.callbacks.ModelCheckpoint("runs/a", every_steps=100),
        fastrnn.callbacks.CSVLogger("a.csv"), fastrnn.callbacks.LearningRateMonitor(),
        fastrnn.callbacks.ProgressBar(delay=1.0), fastrnn.callbacks.ScheduledSampling("linear", 100),
        fastrnn.callbacks.TerminateOnNonFinite(), fastrnn.callbacks.Monitor("loss", 0.0, "min"),
        fastrnn.diagnostics.GradientMonitor(x, every=10), fastrnn.callbacks.EpochLine(epochs=3),
    ]
    net = Sequential(LSTM(3, 4), LastStep(direction="forward"), Linear(4, 1))
    trainer = Trainer(net, "mse", Adam(0.01), clip_norm=1.0, callbacks=callbacks, metrics=["mae"], seed=0,
                      schedule=fastrnn.schedules.OneCycle(0.01, 100), average=fastrnn.averaging.EMA(0.99))
    try:
        history: History = trainer.fit(x, x[:, 0, :1], epochs=3, validation_split=0.2)
        print(history["val_loss"][-1])
    except NonFiniteError as error:
        print(error)
    trainer.fit(LaneStream(ids[0], 2, (4, 8)), epochs=1, shuffle=False, verbose=True)
    trainer.fit(x, x[:, 0, :1], batch_order=lambda epoch, rng: [rng.permutation(2)])
    trainer.fit(((x, x[:, 0, :1]) for _ in range(9)), steps_per_epoch=3, validation_data=iter([(x, x[:, 0, :1])]))
    trainer.evaluate(Batches())
    trainer.predict(Batches())
    fastrnn.sklearn.RNNClassifier().partial_fit(Batches(), classes=[0, 1])
    Trainer(Linear(4, 1, init={"weight": ("uniform", 0.1), "bias": 0}), reduction="batchmean")
    averages: list[fastrnn.averaging.Average] = [fastrnn.averaging.EMA(), fastrnn.averaging.SWA(2, "step")]
    print(averages[0].params, averages[1].updates)
    optimizer: fastrnn.optim.Optimizer
    for optimizer in (SGD(0.1, momentum=0.9), Adam(betas=(0.9, 0.99)), AdamW(), RMSprop(centered=True), Adagrad()):
        optimizer.step(net.params, net.grads)
        optimizer.load_state_dict(optimizer.state_dict())
        optimizer.lr = 0.1
    print(fastrnn.clip_grad_norm(net, 1.0), fastrnn.optim.grad_norm(net.grads), fastrnn.optim.all_finite([x]))
    optimizer.step(net.params, net.grads, scale=fastrnn.optim.clipping_factor(2.0, 1.0))
    fastrnn.clip_grad_value(net, 1.0)
    rates: list[fastrnn.schedules.Schedule] = [
        fastrnn.schedules.Constant(0.1), fastrnn.schedules.StepDecay(0.1, 10), fastrnn.schedules.LinearDecay(0.1, 9),
        fastrnn.schedules.ExponentialDecay(0.1, 0.9, per="batch"), fastrnn.schedules.CosineDecay(0.1, 100),
        fastrnn.schedules.PiecewiseConstant([3], [0.1, 0.01]), fastrnn.schedules.Lambda(0.1, lambda step: 0.5**step),
        fastrnn.schedules.Join([0.1, fastrnn.schedules.Constant(0.2)], [3]), fastrnn.schedules.Product([0.1, 0.5]),
        fastrnn.schedules.WarmUp(0.1, 10), fastrnn.schedules.ReduceOnPlateau(0.1, monitor="val_f1", mode="max"),
    ]
    print(rates[0].step(0.5) + rates[1].lr_at(3), rates[2].state_dict())


def losses() -> None:
    loss, gradient = mse(x, x, lengths=[5, 3], batch_first=False)
    loss, gradient = fastrnn.losses.cross_entropy(x, ids, class_weight=[1.0, 2.0, 1.0], reduction="sum")
    loss, gradient = fastrnn.losses.binary_cross_entropy(x, x, pos_weight=2.0)
    loss, gradient = fastrnn.losses.mae(x, x, mask=x > 0)
    loss, gradient = fastrnn.losses.huber(x, x, delta=0.5, sample_weight=[1.0, 2.0])
    loss, gradient = fastrnn.losses.quantile(x, x[..., 0], quantiles=[0.1, 0.5, 0.9])
    loss, gradient = fastrnn.losses.gaussian_nll(x, x, scale="softplus")
    loss, gradient = fastrnn.losses.ctc(x, [ids[0], ids[1]], [5, 3])
    loss, gradient = fastrnn.losses.nll(x, ids, lengths=[5, 3])
    print(loss + 1.0, gradient.shape, fastrnn.metrics.accuracy(x, ids))
    metrics: list[fastrnn.metrics.Metric] = fastrnn.metrics.find_metrics(["mae", fastrnn.metrics.accuracy])
    print([metric.name for metric in metrics])


def data() -> None:
    words = fastrnn.vocab.Vocabulary.build(["the cat", "the dog"], specials=("unk", "eos"))
    print(words.decode(words.encode("the cat", eos=True)), len(words), words.unk, fastrnn.vocab.words("a b"))
    parts = fastrnn.bpe.BPE.train(["the cat"], 100)
    parts.save("parts.json")
    symbols: list[fastrnn.vocab.Symbols] = [words, parts, fastrnn.bpe.BPE.load("parts.json")]
    print(symbols[0].config())
    scale = fastrnn.scaling.Standardize.of(x)
    rescale: fastrnn.scaling.Rescale = scale.inverse()
    print(rescale.mean, fastrnn.scaling.mean_and_deviation(x)[0])
    X, y = fastrnn.windows.forecast_windows(x[:, 0], 3, 1, target=x[:, 0, 0])
    print(X, y, fastrnn.windows.windows(x, 2), fastrnn.windows.next_steps(x, 2)[1])
    spectrum = fastrnn.audio.log_mel(fastrnn.audio.to_float(x[:, 0], channel=1), 16000, high=None, channel="mean")
    print(fastrnn.audio.mel(440.0), fastrnn.audio.hertz(5.0), fastrnn.audio.mel_filters(4, 512, 16000).shape)
    print(fastrnn.audio.with_deltas(spectrum), fastrnn.audio.deltas(spectrum), fastrnn.audio.mfcc(x[:, 0, 0], 16000))


def decoding() -> None:
    chars = CharModel("abc ")
    for drawn in fastrnn.decoding.sample(chars, [ids[0]], 10, top_k=3, seed=0):
        print(drawn)
    best: fastrnn.decoding.Hypothesis = fastrnn.decoding.beam_search(chars, None, [0], length=5)[0][0]
    search = fastrnn.decoding.CTCBeamSearch(3, lm=chars, alphabet="abc")
    search.run(x[:, 0])
    scores = fastrnn.decoding.NetworkScores(chars, [1, 2], [0])
    print(best.score, search.hypotheses(2), scores.begin(1), fastrnn.decoding.ctc_beam_search(x[:, 0], beam_size=4))
    print(fastrnn.decoding.ctc_greedy(x, [5, 3]), fastrnn.decoding.log_softmax(x))
    print(fastrnn.decoding.edit_distance("ab", "b") + fastrnn.decoding.error_rate(["ab"], ["b"]))
    print(fastrnn.decoding.choose(x[0], [0.5, 0.5]), fastrnn.decoding.penalise(x, x > 0, 2.0))
    step = fastrnn.decoding.stream_step(chars)
    logits, state = step(ids[0], None)
    print(fastrnn.decoding.take_rows(state, [0, 0]), logits)


def diagnostics() -> None:
    diagnosis: fastrnn.diagnostics.Diagnosis = fastrnn.diagnostics.diagnose(LSTM(3, 4), x, x, loss="mse")
    diagnosis.plot("a.png")
    findings: list[fastrnn.diagnostics.Finding] = diagnosis.findings
    layer: fastrnn.diagnostics.Layer = diagnosis.layers[0]
    decay: fastrnn.diagnostics.Decay | None = layer.decay
    gate: fastrnn.diagnostics.Gate = layer.gates["forget"]
    weights: fastrnn.diagnostics.Weights = diagnosis.weights["l0"]
    radius: fastrnn.diagnostics.Spectrum = fastrnn.diagnostics.spectrum(np.eye(3))
    if decay is not None:
        fastrnn.diagnostics.plot_decays({"a": decay}, "a.png")
        print(fastrnn.diagnostics.decay_table({"a": decay}, "a"))
    print([finding.remedy for finding in findings], gate.stuck, weights.ratio, radius.norm, diagnosis.verdict)


def process() -> None:
    fastrnn.set_num_threads(fastrnn.get_num_threads())
    print(fastrnn.show_config()["isa"])
    free: int | None = fastrnn.memory.available()
    fastrnn.memory.require(10, "x", "rows", "use fewer")
    print(free, fastrnn.memory.amount(10), fastrnn.memory.training_bytes(LSTM(3, 4), 32, 100))
    print(fastrnn.memory.runner_bytes(LSTM(3, 4), 32, 100), fastrnn.memory.OutOfMemoryError)


def other_systems() -> None:
    parts: dict[str, fastrnn.Module] = fastrnn.from_torch("model.pt", only=["lstm*"], kinds={"fc": "Linear"})
    model: LSTM = fastrnn.from_torch({"weight_ih_l0": x[0]}, batch_first=True, sample_inputs=x, expected_outputs=x)
    if model.verification is not None:
        print(model.verification.worst_error, parts, fastrnn.to_torch(model)["weight_hh_l0"].shape)
    masked: fastrnn.MaskedSequential = fastrnn.from_keras("model.keras", config="model.json")
    print(masked.mask_value, fastrnn.to_keras(masked)[0].shape, fastrnn.MergeDirections("ave")(x))


def estimators() -> None:
    classifier = fastrnn.sklearn.RNNClassifier(cell="lstm", epochs=5, class_weight="balanced").fit(x, [0, 1, 0, 1, 0])
    print(classifier.predict(x), classifier.predict_proba(x).shape, classifier.network_.params, classifier.classes_)
    print(fastrnn.sklearn.RNNRegressor(loss="huber").fit(x, x[:, 0, 0]).predict([x[0], x[1]]))
    print(fastrnn.sklearn.RNNTagger().fit([x[0], x[1]], [ids[0, :2], ids[1, :2]]).predict(x))
    lower, upper = fastrnn.sklearn.RNNForecaster(12, season=24).fit(x[:, 0]).predict_interval(coverage=0.8)
    detector = fastrnn.sklearn.RNNAnomalyDetector(0.02).fit(x[:, 0])
    print(lower, upper, detector.predict(x[:, 0]), detector.update(x[0, 0]) < 0, detector.reset())
    detector.save("detector.ckpt")
    fastrnn.sklearn.load("detector.ckpt")


def processes() -> None:
    ranks = fastrnn.distributed.Ranks(timeout=60)
    trainer = fastrnn.distributed.DistributedTrainer(LSTM(3, 4), "mse", AdamW(), ranks=ranks)
    try:
        print(trainer.fit(x, x)["loss"], ranks.rank, ranks.first)
    except fastrnn.distributed.RankError as error:
        print(error)
