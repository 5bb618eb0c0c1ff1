"""Sampling and the beam searches against their distributions, against exhaustive search, and step by step."""

import itertools
import math

import numpy as np
import pytest

from fastrnn import GRU, CharModel, Embedding, LastStep, Linear, Sequential, losses
from fastrnn.decoding import (
    CTCBeamSearch,
    NetworkScores,
    beam_search,
    choose,
    ctc_beam_search,
    ctc_greedy,
    log_softmax,
    penalise,
    sample,
    stream_step,
    take_rows,
)


def network(symbols=5, seed=0, scale=4.0, **options):
    """A network over ids whose predictions are far from even."""
    net = Sequential(Embedding(symbols, 4, seed=seed), GRU(4, 6, seed=seed + 1), Linear(6, symbols, seed=seed + 2),
                     **options)
    net.params["2.weight"][...] *= scale
    return net


# sampling

LOGITS = np.log([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    "options, expected",
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.5}, np.array([0.01, 0.16, 0.04, 0.09]) / 0.3),
        ({"temperature": 0}, [0, 1, 0, 0]),
        ({"temperature": 1e-6}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 9}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.3}, [0, 1, 0, 0]),
        ({"top_p": 0.69}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 1.0}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 3, "top_p": 0.5}, [0, 4 / 7, 0, 3 / 7]),
    ],
)
def test_choose(options, expected):
    draws = (np.arange(4000) + 0.5) / 4000
    drawn = choose(np.tile(LOGITS, (4000, 1)), draws, **options)
    found = np.bincount(drawn, minlength=4) / 4000
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert (found[np.asarray(expected) == 0] == 0).all()


def test_choose_never_draws_what_is_impossible():
    logits = np.array([[-np.inf, 1.0, -np.inf, 0.0]])
    for options in {}, {"top_k": 3}, {"top_p": 1.0}, {"temperature": 0}:
        drawn = {int(choose(logits, [u], **options)[0]) for u in (0, 0.3, 0.8, 1 - 2.0**-53)}
        assert drawn <= {1, 3}
    for bad in np.nan, np.inf, -np.inf:
        with pytest.raises(ValueError, match=r"^logits: expected a finite largest one in every row, found"):
            choose(np.full((2, 3), bad), [0.5, 0.5])


def test_the_penalty_lowers_what_was_seen():
    logits, seen = np.array([2.0, -1.0, 3.0, -np.inf]), np.array([True, True, False, True])
    np.testing.assert_array_equal(penalise(logits, seen, 2.0), [1.0, -2.0, 3.0, -np.inf])


def drawn(net, prompts, length, **options):
    return np.array(list(sample(net, prompts, length, **options))).T


def test_sampling_is_the_networks_distribution():
    net, prompt = network(batch_first=False), [1, 2, 3]
    logits = net(np.array(prompt)[:, None])[0][-1, 0]
    found = drawn(net, [prompt] * 4000, 1, seed=0)[:, 0]
    np.testing.assert_allclose(np.bincount(found, minlength=5) / 4000, np.exp(log_softmax(logits)), atol=0.03)


@pytest.mark.parametrize("batch_first", [True, False])
def test_each_prompt_is_drawn_as_if_alone(batch_first):
    net = network(batch_first=batch_first)
    prompts = [[1], [4, 0, 2, 2, 1], [3, 3]]
    options = {"temperature": 0.9, "top_p": 0.95, "repetition_penalty": 1.5, "repetition_window": 3}
    together = drawn(net, prompts, 25, seed=[5, 6, 7], **options)
    for row, prompt, seed in zip(together, prompts, (5, 6, 7)):
        np.testing.assert_array_equal(row, drawn(net, [prompt], 25, seed=[seed], **options)[0])
    spawned = drawn(net, prompts, 25, seed=9, **options)
    np.testing.assert_array_equal(spawned[:2], drawn(net, prompts[:2], 25, seed=9, **options))
    assert (spawned[0] != drawn(net, prompts[:1], 25, seed=10, **options)[0]).any()


def greedy_with_penalty(net, prompt, length, penalty, window):
    """Whole sequences again and again: the slow way."""
    ids = list(prompt)
    for _ in range(length):
        logits = net([np.array(ids)])[0][0][-1].astype(np.float64)
        for k in set(ids if window is None else ids[-window:]):
            logits[k] = logits[k] / penalty if logits[k] > 0 else logits[k] * penalty
        ids.append(int(logits.argmax()))
    return ids[len(prompt):]


@pytest.mark.parametrize("window", [None, 1, 4])
def test_repetition_control_is_the_slow_ways(window):
    net, prompts = network(12), [[1, 7, 7], [5], [2, 3, 4, 5, 6, 7]]
    options = {"temperature": 0, "repetition_penalty": 2.0, "repetition_window": window}
    found = drawn(net, prompts, 20, **options)
    for row, prompt in zip(found, prompts):
        assert row.tolist() == greedy_with_penalty(net, prompt, 20, 2.0, window)
    assert (found != drawn(net, prompts, 20, temperature=0)).any()


def test_forbidden_ids_and_ends():
    net = network()
    found = drawn(net, [[1]] * 30, 20, seed=0, forbid=[0, 3])
    assert set(found.ravel().tolist()) == {1, 2, 4}
    found = drawn(net, [[1]] * 30, 400, seed=0, end=2)
    for row in found:
        first = row.tolist().index(2)
        assert (row[first:] == 2).all()
    assert found.shape[1] < 400 and (found[:, -1] == 2).all() and (found[:, -2] != 2).any()


def test_sampling_streams():
    steps = sample(network(), [[1], [2]], 10**9, seed=0)
    assert next(steps).shape == (2,) and next(steps).dtype == np.int64


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sample(network(), [[1]], -1), "length: expected"),
        (lambda: sample(network(), [], 1), "prompts: expected at least one, found none"),
        (lambda: sample(network(), [[1], []], 1), r"prompts\[1\]: expected at least one id"),
        (lambda: sample(network(), [[1.5]], 1), r"prompts\[0\]: expected an array of ints"),
        (lambda: sample(network(), 3, 1), "prompts: expected a list"),
        (lambda: sample(network(), [[9]], 1), r"x: expected ints in 0 \.\. 4"),
        (lambda: sample(network(), [[1]], 1, forbid=[5]), r"forbid: expected ints in 0 \.\. 4"),
        (lambda: sample(network(), [[1]], 1, end=5), "end: expected"),
        (lambda: sample(network(), [[1]], 1, seed=[1, 2]), "seed: expected one, or a list of 1"),
        (lambda: sample(network(), [[1]], 1, seed=["a"]), r"seed\[0\]: expected an int"),
        (lambda: sample(lambda x: x, [[1]], 1), "network: expected a fastrnn network with a stream, found function"),
        (lambda: sample(Sequential(GRU(2, 3), LastStep()), [[1]], 1), "network: expected one with an output for every"),
    ],
)
def test_bad_input_of_sampling_is_named_before_the_first_step(call, message):
    with pytest.raises((ValueError, TypeError), match="^" + message):
        call()


# beam search

def log_p(net, start, ids):
    """log P of `ids` after `start`, by the whole sequence."""
    y = net([np.array([start, *ids])])[0][0]
    return sum(log_softmax(y[t])[k] for t, k in enumerate(ids))


def every_hypothesis(net, start, length, end, power, symbols=4):
    """All there are, with their scores, best first."""
    found = []
    for n in range(1, length + 1):
        for ids in itertools.product(range(symbols), repeat=n):
            if end in ids[:-1] or (end is not None and n < length and ids[-1] != end) or (end is None and n < length):
                continue
            labels = ids[:-1] if ids[-1] == end else ids
            found.append((log_p(net, start, ids) / ((5 + n) / 6) ** power, labels))
    return sorted(found, reverse=True)


@pytest.mark.parametrize("end", [None, 3])
@pytest.mark.parametrize("power", [0.0, 0.6, 2.0])
def test_a_wide_beam_is_exhaustive(power, end):
    net = network(4, seed=3, scale=3.0)
    found = beam_search(net, None, [0, 1, 2], length=4, beam_size=300, end=end, length_penalty=power, n_best=5)
    for start, hypotheses in enumerate(found):
        expected = every_hypothesis(net, start, 4, end, power)[:5]
        assert [tuple(h.labels.tolist()) for h in hypotheses] == [labels for _, labels in expected]
        np.testing.assert_allclose([h.score for h in hypotheses], [score for score, _ in expected], rtol=1e-5)


def test_each_sequence_has_its_own_beam_and_state():
    net = network(9, scale=6.0)
    prompts = [np.array([1, 2, 3, 4]), np.array([5]), np.array([6, 0])]
    _, state = net([p[:-1] for p in prompts])
    last = [p[-1] for p in prompts]
    options = {"length": 8, "beam_size": 3, "end": 0, "n_best": 3}
    together = beam_search(net, state, last, **options)
    by_function = beam_search(stream_step(net), state, last, **options)
    for k, (found, same) in enumerate(zip(together, by_function)):
        alone = beam_search(net, take_rows(state, np.array([k])), last[k : k + 1], **options)[0]
        for h, other, again in zip(found, alone, same):
            np.testing.assert_array_equal(h.labels, other.labels)
            np.testing.assert_array_equal(h.labels, again.labels)
            assert h.score == pytest.approx(other.score, rel=1e-12) and h.score == again.score
        assert found[0].score >= found[1].score >= found[2].score
        full = [*found[0].labels, 0] if len(found[0].labels) < 8 else [*found[0].labels]
        before = log_p(net, prompts[k][0], [*prompts[k][1:], *full]) - log_p(net, prompts[k][0], prompts[k][1:])
        assert found[0].score == pytest.approx(before / ((5 + len(full)) / 6) ** 0.6, rel=1e-5)


def test_a_beam_of_one_is_greedy():
    net = network(9, scale=6.0)
    (found,), = beam_search(net, None, [2], length=12, beam_size=1)
    np.testing.assert_array_equal(found.labels, drawn(net, [[2]], 12, temperature=0)[0])


def test_the_normalisation_favours_longer_ones():
    def step(ids, state):
        return np.tile(np.log([0.5, 0.5]), (len(ids), 1)), state

    lengths = [len(beam_search(step, None, [0], length=6, beam_size=64, end=0, length_penalty=power)[0][0].labels)
               for power in (0.0, 0.6, 4.0)]
    assert lengths[0] == 0 and lengths[2] == 5 and lengths == sorted(lengths)  # the sixth is the end


@pytest.mark.parametrize(
    "options, message",
    [
        ({"length": 0}, "length: expected"),
        ({"beam_size": 0}, "beam_size: expected"),
        ({"n_best": 5}, "n_best: expected an int of at most 4"),
        ({"length_penalty": -1}, "length_penalty: expected"),
        ({"end": 7}, "end: expected"),
        ({"start": [1.5]}, "start: expected an array of ints"),
        ({"step": 3}, "step: expected a network or a function, found int"),
    ],
)
def test_bad_input_of_beam_search_is_named(options, message):
    with pytest.raises((ValueError, TypeError), match="^" + message):
        beam_search(**{"step": network(), "state": None, "start": [1], "length": 3, **options})


# CTC

def ctc_logits(steps=6, classes=4, batch=3, scale=2.0, seed=0):
    return np.random.default_rng(seed).normal(size=(batch, steps, classes)) * scale


def labellings(classes, most, blank=0):
    labels = [k for k in range(classes) if k != blank]
    return [ids for n in range(most + 1) for ids in itertools.product(labels, repeat=n)]


def exact(x, blank, bonus=lambda ids: 0.0):
    """Every labelling with its score, best first: minus the CTC loss, plus the bonus."""
    found = [(bonus(ids) - losses.ctc(x, list(ids), blank=blank)[0], ids)
             for ids in labellings(x.shape[1], len(x), blank)]
    return sorted(((score, ids) for score, ids in found if score > -math.inf), reverse=True)


def check_exact(found, expected):
    assert [tuple(h.labels.tolist()) for h in found] == [ids for _, ids in expected[: len(found)]]
    np.testing.assert_allclose([h.score for h in found], [score for score, _ in expected[: len(found)]], rtol=1e-9)


@pytest.mark.parametrize("blank", [0, 2])
def test_a_wide_prefix_beam_is_exact(blank):
    x = ctc_logits(5, 3, 4)
    for row, found in zip(x, ctc_beam_search(x, beam_size=100, n_best=20, blank=blank)):
        check_exact(found, exact(row, blank))
    total = sum(math.exp(h.score) for h in ctc_beam_search(x[0], beam_size=100, n_best=100, blank=blank))
    assert total == pytest.approx(1, rel=1e-12)


def bigram(prefix):
    """log P of the next label in a language where labels alternate."""
    p = np.full(3, 0.1)
    p[1 if not prefix or prefix[-1] == 2 else 2] = 0.9
    return np.log(p)


@pytest.mark.parametrize("lm", ["function", "network", "ids"])
def test_a_language_model_and_a_bonus_are_exact(lm):
    x, alpha, beta = ctc_logits(5, 3, 3), 0.7, 0.3
    net = network(6, scale=3.0)
    if lm == "function":
        given = bigram
        log_lm = lambda ids: sum(bigram(ids[:k])[label] for k, label in enumerate(ids))  # noqa: E731
    elif lm == "network":
        given = network(3, scale=3.0)
        log_lm = lambda ids: log_p(given, 0, ids)  # noqa: E731
    else:
        given = NetworkScores(net, [0, 5, 3], [4, 2])
        log_lm = lambda ids: log_p(net, 4, [2, *([0, 5, 3][k] for k in ids)]) - log_p(net, 4, [2])  # noqa: E731
    found = ctc_beam_search(x, beam_size=100, n_best=20, lm=given, alpha=alpha, beta=beta)
    for row, hypotheses in zip(x, found):
        expected = exact(row, 0, lambda ids: alpha * log_lm(ids) + beta * len(ids))
        assert [tuple(h.labels.tolist()) for h in hypotheses] == [ids for _, ids in expected[:20]]
        np.testing.assert_allclose([h.score for h in hypotheses], [s for s, _ in expected[:20]], rtol=1e-5)


def test_a_character_model_helps_where_the_sound_is_unclear():
    """Trained by hand to a language in which b always follows a."""
    model = CharModel("ab\n", cell="rnn", hidden_size=4, embedding_dim=4, seed=0)
    for array in model.params.values():
        array[...] = 0
    model.params["0.weight"][...] = 4 * np.eye(4)
    model.params["1.weight_ih_l0"][...] = np.eye(4)
    model.params["2.weight"][2, 1] = 9.0  # after an a, id 1, a b, id 2
    p = np.full((3, 3), 0.01)
    p[0, 1], p[1, 0], p[2, 1], p[2, 2] = 0.98, 0.98, 0.52, 0.47
    plain = ctc_beam_search(np.log(p), beam_size=8)[0]
    helped = ctc_beam_search(np.log(p), beam_size=8, lm=model, alphabet="_ab")[0]
    assert plain.labels.tolist() == [1, 1] and helped.labels.tolist() == [1, 2]


def plain_prefix_search(x, width, blank=0):
    """Hannun et al. (2014) with dicts, one sequence: prefix -> (P of a blank at the end, of a label)."""
    p = np.exp(log_softmax(x))
    beam = {(): (1.0, 0.0)}
    for row in p:
        new = {}

        def add(prefix, b, nb, new=new):
            old = new.get(prefix, (0.0, 0.0))
            new[prefix] = (old[0] + b, old[1] + nb)

        for prefix, (b, nb) in beam.items():
            add(prefix, (b + nb) * row[blank], nb * row[prefix[-1]] if prefix else 0.0)
            for k in range(len(row)):
                if k != blank:
                    add((*prefix, k), 0.0, row[k] * (b if prefix and prefix[-1] == k else b + nb))
        beam = dict(sorted(new.items(), key=lambda item: -sum(item[1]))[:width])
    return sorted(((math.log(b + nb), prefix) for prefix, (b, nb) in beam.items()), reverse=True)


@pytest.mark.parametrize("width", [1, 2, 5, 16])
def test_a_narrow_beam_is_the_plain_search(width):
    x, lengths = ctc_logits(40, 6, 5, scale=1.0), [40, 0, 17, 40, 1]
    for row, n, found in zip(x, lengths, ctc_beam_search(x, lengths, beam_size=width, n_best=width)):
        check_exact(found, plain_prefix_search(row[:n], width)[: len(found)])
        assert len(found) == min(width, 1 if n == 0 else 6 if n == 1 else width)


@pytest.mark.parametrize("lm", [None, bigram])
def test_steps_and_chunks_are_the_whole(lm):
    x = ctc_logits(20, 3, 3, scale=1.0)
    whole = ctc_beam_search(x, beam_size=4, n_best=4, lm=lm)
    search = CTCBeamSearch(3, 3, beam_size=4, lm=lm)
    for _ in range(2):
        for t in range(3):
            search.step(x[:, t])
        search.run(x[:, 3:11])
        search.run(x[:, 11:11])
        search.run(x[:, 11:])
        for found, expected in zip(search.hypotheses(4), whole):
            assert [h.labels.tolist() for h in found] == [h.labels.tolist() for h in expected]
            assert [h.score for h in found] == [h.score for h in expected]
        search.reset()
    one = CTCBeamSearch(3, beam_size=4, lm=lm)
    for row in x[1]:
        one.step(row)
    assert one.hypotheses()[0][0].labels.tolist() == whole[1][0].labels.tolist()


def test_layouts_and_padding():
    x, lengths = ctc_logits(8), [8, 3, 0]
    spoiled = x.copy()
    spoiled[1, 3:], spoiled[2] = np.nan, np.nan
    expected = [ctc_beam_search(row[:n], n_best=3) for row, n in zip(x, lengths)]
    for found in (ctc_beam_search(spoiled, lengths, n_best=3),
                  ctc_beam_search(spoiled.swapaxes(0, 1), lengths, n_best=3, batch_first=False)):
        for hypotheses, wanted in zip(found, expected):
            check_exact(hypotheses, [(h.score, tuple(h.labels.tolist())) for h in wanted])
    assert ctc_greedy(x.swapaxes(0, 1), lengths, batch_first=False)[1].tolist() == ctc_greedy(x[1, :3]).tolist()
    assert ctc_beam_search(np.zeros((4, 1)))[0].labels.size == 0
    assert ctc_beam_search(np.zeros((0, 4, 3))) == []


def test_fewer_candidates_lose_nothing_where_the_others_are_impossible():
    x = ctc_logits(12, 8, 4)
    least = np.argsort(x[:, :, 1:], axis=2)[:, :, :3] + 1
    np.put_along_axis(x, least, -800.0, axis=2)
    every, few = ctc_beam_search(x, beam_size=6), ctc_beam_search(x, beam_size=6, candidates=4)
    for a, b in zip(every, few):
        assert a[0].labels.tolist() == b[0].labels.tolist() and a[0].score == pytest.approx(b[0].score)
    assert ctc_beam_search(x, candidates=99)[0][0].score == ctc_beam_search(x)[0][0].score


def test_greedy():
    path = [0, 1, 1, 0, 1, 2, 2, 0, 0, 3]
    x = np.eye(4)[path]
    assert ctc_greedy(x).tolist() == [1, 1, 2, 3]
    assert ctc_greedy(x, blank=1).tolist() == [0, 0, 2, 0, 3]
    both = ctc_greedy(np.stack([x, x]), lengths=[3, 0])
    assert [found.tolist() for found in both] == [[1], []] and both[1].dtype == np.int64


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: ctc_greedy(np.zeros(3)), "logits: expected two axes, or three"),
        (lambda: ctc_greedy(np.zeros((2, 3)), [1]), "lengths: expected None for one sequence"),
        (lambda: ctc_greedy(np.zeros((2, 3)), blank=3), "blank: expected an int of at most 2"),
        (lambda: ctc_beam_search(np.zeros((1, 2, 3)), [3]), r"lengths: expected ints in 0 \.\. 2"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), n_best=17), "n_best: expected an int of at most 16"),
        (lambda: ctc_beam_search(np.full((2, 3), np.nan)), "logits: expected a finite largest one"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), lm=3), "lm: expected a network, a function or None, found int"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), lm=lambda prefix: [0.0]), "lm: expected a function that returns 3"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), lm=network(2)), r"ids: expected ints in 0 \.\. 1, found 2"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), lm=CharModel("ab")), "alphabet: expected the characters of the 3"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), lm=CharModel("ab"), alphabet=["", "ab", "a"]),
         "alphabet: expected single characters, found 'ab'"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), alpha=-1), "alpha: expected"),
        (lambda: ctc_beam_search(np.zeros((2, 3)), candidates=0), "candidates: expected"),
        (lambda: CTCBeamSearch(3).step(np.zeros(4)), r"logits: expected shape \(1, 3\), found"),
        (lambda: CTCBeamSearch(3, 2).run(np.zeros((5, 3))), r"logits: expected shape \(2, T, 3\), found"),
    ],
)
def test_bad_input_of_ctc_decoding_is_named(call, message):
    with pytest.raises((ValueError, TypeError), match="^" + message):
        call()
