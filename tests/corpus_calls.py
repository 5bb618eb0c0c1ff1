"""Programs that once went wrong, as `fuzz_calls.py` writes them: each must end well, or in a ValueError or TypeError.

A new one goes to the end when what it shows is mended; `python tests/fuzz_calls.py --corpus` runs them all.
"""

PROGRAMS = [
    # the end of a process
    "v1 = fastrnn.RNN(4, 1, seed=recursive())",
    "v1 = fastrnn.Dropout(seed=[recursive()])",
    # errors of other kinds, or none that names the argument
    "v1 = fastrnn.Attention('additive', 4, 3)\nv2 = v1(1)",
    "v1 = fastrnn.Attention('additive', 4, 3)\nv2 = v1.forward(1)",
    "v1 = fastrnn.Attention('additive', 4, 3)\nv2 = v1.backward(1)",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.translate(array(891, (2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.translate(array(981, (5, 2, 6), 'f4', 'memory'))",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.translate(np.array(3))",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.check_source(np.array('text'))",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.targets(array(871, (5, 2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.Seq2Seq(6, 6)\nv2 = v1.training_bytes(array(1, (3,)), 2**70, None, 1)",
    "v1 = fastrnn.CharModel('abc')\nv1.params['1.bias_hh_l0'] = -(10**5000)",
    "v1 = fastrnn.decoding.error_rate(array(0, 1), array(618, 1, '>i8', 'memory'))",
    "v1 = fastrnn.decoding.sample(fastrnn.Dropout(), [[0, 1], [2]], 20)",
    "v1 = fastrnn.schedules.ExponentialDecay(1e-300, 2)\nv2 = v1.lr_at(2**40)",
    "v1 = fastrnn.schedules.StepDecay(0.1, 1, 1e300)\nv2 = v1.lr_at(10**400)",
    "v1 = fastrnn.schedules.CosineDecay(0.1, 1)\nv2 = v1.lr_at(10**400)",
    "v1 = fastrnn.schedules.LinearDecay(0.1, 1)\nv2 = v1.lr_at('x')",
    "v1 = fastrnn.schedules.OneCycle(1e300, 9, start_factor=1e-300)",
    "v1 = fastrnn.schedules.ReduceOnPlateau(0.1)\nv2 = v1.step(10**400)",
    "v1 = fastrnn.Sequential(fastrnn.Attention('additive', 4, 3))\nv2 = v1.stream()",
    "v1 = fastrnn.decoding.ctc_beam_search(array(0, (5, 2, 3)), blank=Int(4))",
    "v1 = fastrnn.LSTM(4, 2)\nv2 = v1.segments(3, 10**30)",
    "v1 = fastrnn.metrics.accuracy(1, Decimal('NaN'))",
    "v1 = fastrnn.decoding.NetworkScores(fastrnn.Dropout(), 1, List([1, 2, 3, 4]))",
    "v1 = fastrnn.text.read_text(paths=array(438, (5, 2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.optim.grad_norm(array(815, 1, 'g', 'memory'))",
    "v1 = fastrnn.MeanOverTime()\nv2 = v1.params\nv3 = v2.update(array(993, (0, 2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.MeanOverTime()\nv2 = v1.from_config(array(436, 1, '>i8', 'memory'))",
    "v1 = fastrnn.Sequential(fastrnn.MeanOverTime())\nv2 = v1.from_config(array(87, (2, 2, 4), 'u1', 'memory'))",
    "v1 = fastrnn.ActivationRegularization()\nv2 = v1.stream()\nv3 = v2.step(v1, out=1)",
    "v1 = fastrnn.decoding.penalise(10 ** 400, 1, 0.1)",
    "v1 = fastrnn.LSTMCell(1, 1, dtype=List([array(142, 1, 'f8', 'lying'), (Decimal(), array(34, 1))]))",
    "v1 = fastrnn.vocab.Vocabulary(array(682, 1, 'f8', 'lying'))",
    "v1 = fastrnn.vocab.Vocabulary(array(740, (2, 4), 'f8', 'memory'))",
    "v1 = fastrnn.bpe.BPE('x', specials=array(413, (5, 2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.RNNCell(1, 3, init=array(134, 1, 'c8', 'lying'))",
    "v1 = fastrnn.LSTM(3, 4)\nv2 = v1.params\nv3 = v2.fromkeys(array(368, (5, 2, 3), 'f4', 'memory'))",
    "v1 = fastrnn.sklearn.RNNAnomalyDetector()\nv2 = v1.fit_predict(10**400)",
    "v1 = fastrnn.metrics.find_metrics(array(166, (2, 5, 3), 'f4', 'memory'))",
    "v2 = fastrnn.schedules.OneCycle(1e+300, 2)\nv2.base_lr = -(10**5000)\nv6 = v2.step()",
    "v1 = fastrnn.decoding.ctc_beam_search(Liar(917))",
    "v2 = fastrnn.decoding.edit_distance(np.arange(3), csr_matrix(np.eye(3)))",
    "v2 = fastrnn.schedules.CosineDecay(0.5, 1)\nv2.total = 0\nv6 = v2.step()",
    "v5 = fastrnn.RNNCell(4, 4, nonlinearity=Str())",
    "v1 = fastrnn.decoding.CTCBeamSearch(3)\nv1.classes = array(607, 1, 'u1')\nv4 = v1.reset()",
    # memory that nobody asked for
    "v5 = fastrnn.decoding.CTCBeamSearch(2**31 - 1)",
    "v1 = fastrnn.decoding.CTCBeamSearch(3, batch_size=2 ** 31 - 1)",
    "v1 = fastrnn.sklearn.RNNRegressor(frame_size=2 ** 31 - 1)\nv2 = v1.partial_fit(array(0, (5, 2, 3)), "
    "array(443, (5, 2)))",
    "v1 = fastrnn.audio.with_deltas(array(673, (2, 5)), width=2**31 - 1)",
    "v1 = fastrnn.audio.with_deltas(array(605, (9, 1)), order=2**31 - 1)",
    "v1 = fastrnn.audio.mfcc(array(479, 60), 8000, bands=2**31 - 1)",
    "v1 = fastrnn.audio.log_mel(array(479, 60), 8000, window=1e308)",
    "v1 = fastrnn.audio.mel_filters(3, 2**31 - 1, 8000)",
    "v1 = fastrnn.GRU(3, 4)\nv2 = v1.stream(batch_size=2**31 - 1)",
    "v1 = fastrnn.LSTM(3, 2**31 - 1)",
    "v1 = fastrnn.text.OneHot(2**31 - 1)\nv2 = v1(1)",
    "v1 = fastrnn.Linear(2**31 - 1, 4)",
    # a failed call that has changed something
    "v1 = fastrnn.Sequential(fastrnn.Embedding(6, 3), fastrnn.MinLSTM(3, 4), fastrnn.Linear(4, 6))\n"
    "v1.grads['1.weight_ih_l0'].shape = (-1,)\nv5 = v1.forward(array(354, 1, '>i8'))\nv7 = v1.backward(v5[2], v5[0])",
    "v1 = fastrnn.Sequential(fastrnn.GRU(3, 4), fastrnn.Linear(4, 2))\nv2 = v1.forward(array(114, (5, 2, 3), 'u8', "
    "'tuple'))\nv3 = v1.backward(v2[2], v2[0])",
    "v1 = fastrnn.CharModel('abc')\nv1.grads['1.bias_hh_l0'].dtype = 'i4'\nv2 = v1.forward(array(946, 1, 'u8'))\n"
    "v3 = v1.backward(v2[2], v2[0])",
    "v1 = fastrnn.Adam()\nv1.steps = array(281, 1)\nv2 = v1.step({'p': np.ones((2, 2))}, {'p': np.ones((2, 2))})",
    "v1 = fastrnn.SGD()\nv1.momentum = 'x'\nv2 = v1.step({'p': np.ones((2, 2))}, {'p': np.ones((2, 2))})",
    "v1 = fastrnn.Adam()\nv1.betas = (0.9, 2)\nv2 = v1.step({'p': np.ones((2, 2))}, {'p': np.ones((2, 2))})",
]
