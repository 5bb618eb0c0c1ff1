"""The gradient of the loss over the logits: only where nobody needs them any more."""

import numpy as np
import pytest

import fastrnn
from fastrnn import GRU, Dropout, Linear, Sequential, Trainer
from fastrnn.train.fit import passes

CASES = {
    "a Linear at the end": (lambda: [GRU(3, 5, seed=0), Linear(5, 4, seed=1)], {}, True),
    "its loss as a metric": (lambda: [GRU(3, 5, seed=0), Linear(5, 4, seed=1)], {"metrics": ["perplexity"]}, True),
    "another metric": (lambda: [GRU(3, 5, seed=0), Linear(5, 4, seed=1)], {"metrics": ["accuracy"]}, False),
    "a runner at the end": (lambda: [GRU(3, 4, seed=0)], {}, False),
    "dropout at the end": (lambda: [GRU(3, 5, seed=0), Linear(5, 4, seed=1), Dropout(0.2, seed=2)], {}, False),
}


@pytest.mark.parametrize("time", ["batch first", "time major", "windows"])
@pytest.mark.parametrize("name", CASES)
def test_training_is_the_same(name, time, monkeypatch):
    make, options, expected = CASES[name]
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((12, 7, 3)).astype("f"), rng.integers(0, 4, (12, 7))
    spared = []

    def trained(model):
        trainer = Trainer(model, seed=0, tbptt=(2, 3) if time == "windows" else None, **options)
        history = trainer.fit(X, y, batch_size=5, epochs=2, validation_data=(X, y), progress=False)
        return {**model.state_dict(), **{f"figure {key}": np.array(value) for key, value in history.items()
                                         if key != "seconds"}}

    batch_first = time != "time major"
    found = trained(Sequential(*make(), batch_first=batch_first))
    measured = passes.measure_loss

    def never(loss, model, prediction, batch, spare=False):
        return measured(loss, model, prediction, batch)

    with monkeypatch.context() as patch:
        patch.setattr(passes, "measure_loss", never)
        kept = trained(Sequential(*make(), batch_first=batch_first))
    assert found.keys() == kept.keys()
    for key, value in kept.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)

    def watched(loss, model, prediction, batch, spare=False):
        value, gradient = measured(loss, model, prediction, batch, spare)
        spared.append(np.shares_memory(gradient, prediction))
        return value, gradient

    monkeypatch.setattr(passes, "measure_loss", watched)
    trained(Sequential(*make(), batch_first=batch_first))
    assert any(spared) == expected


def test_a_network_of_ones_own_keeps_its_output():
    class Kept(Sequential):
        def forward(self, x, state=None, lengths=None):
            return super().forward(x, state, lengths)

    class Own(Linear):
        pass

    class Free(Linear):
        saves_output = False

    assert [Sequential(made(2, 3)).saves_output for made in (Linear, Own, Free)] == [False, True, False]
    assert Kept(Linear(2, 3)).saves_output
    assert fastrnn.LSTM(2, 3).saves_output
