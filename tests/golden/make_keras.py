"""Writes keras_*.keras, keras_*.h5 and keras.npz beside this file: models of Keras, their inputs and outputs.

    KERAS_BACKEND=torch python tests/golden/make_keras.py          with keras 3.15
"""

from pathlib import Path

import keras
import numpy as np
from keras import layers

FOLDER = Path(__file__).parent


def drawn(model, rng):
    for weight in model.weights:
        weight.assign(rng.normal(0, 0.5, weight.shape).astype("f"))
    return model


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3, 6, 5)).astype("f")
    ids = np.array([[1, 4, 8, 2, 0, 0], [2, 2, 7, 3, 1, 1], [3, 0, 0, 0, 0, 0]])
    arrays = {"x": x, "ids": ids}

    gates = layers.LSTM(4, recurrent_activation="hard_sigmoid", return_sequences=True, dropout=0.1)
    back = layers.GRU(3, go_backwards=True, return_sequences=True, recurrent_dropout=0.1)
    stack = keras.Sequential([keras.Input((6, 5)), gates, back, layers.Dense(2, activation="softplus")])
    arrays["stack.y"] = drawn(stack, rng).predict(x, verbose=0)
    stack.save(FOLDER / "keras_stack.h5")

    tokens = keras.Input((None,), dtype="int32")
    h = layers.Embedding(9, 4, mask_zero=True)(tokens)
    h = layers.RNN(layers.StackedRNNCells([layers.GRUCell(4, reset_after=False), layers.GRUCell(3)]),
                   return_sequences=True)(h)
    h = layers.LayerNormalization()(h)
    h = layers.TimeDistributed(layers.Dense(4, activation="gelu"))(h)
    net = drawn(keras.Model(tokens, layers.Dense(2)(layers.LSTM(3, activation="softsign")(h))), rng)
    arrays["net.y"] = net.predict(ids, verbose=0)
    net.save(FOLDER / "keras_net.keras")
    np.savez_compressed(FOLDER / "keras.npz", **arrays)


if __name__ == "__main__":
    main()
