"""The example of captions: its pictures, that each has one caption, and what is read of them."""

import gzip
import itertools

import numpy as np
import pytest

from fastrnn import GRU, MeanOverTime, Sequential
from fastrnn.examples import captions


def holds(places, words):
    """Whether each relation holds between all digits before it and the one behind it, and lines are straight."""
    rows, columns = np.array(places).T
    for k, word in enumerate(words):
        along, across = (columns, rows) if word == "left of" else (rows, columns)
        if not (along[: k + 1] < along[k + 1]).all():
            return False
        # side by side is in one row; what follows another relation may be off it, behind all of them
        if words[: k + 1] == [word] * (k + 1) and across[k] != across[k + 1]:
            return False
    return True


def test_every_picture_has_one_caption():
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(600):
        places, words = captions.lay_out(int(rng.integers(2, 4)), rng)
        assert len(set(places)) == len(places) == len(words) + 1 and holds(places, words)
        kinds = [*itertools.product(("left of", "above"), repeat=len(words))]
        fit = {(order, kind) for order in itertools.permutations(range(len(places))) for kind in kinds
               if holds([places[k] for k in order], list(kind))}
        assert fit == {(tuple(range(len(places))), tuple(words))}
        seen.add(tuple(words))
    assert len(seen) == 6  # one or the other, and the four pairs of them


def test_a_picture_shows_what_its_caption_says():
    labels = np.arange(10)
    images = np.zeros((10, 28, 28), "float32")
    images[:, 10:18, 10:18] = (labels[:, None, None] + 1) / 10
    found = captions.make_pictures((images, labels), 60, np.random.default_rng(0))
    assert found.pixels.shape == (60, 96, 96) and found.pixels.dtype == np.float32
    names = {name: k for k, name in enumerate(captions.NAMES)}
    for picture, caption in zip(found.pixels, found.captions):
        said = [names[part] for part in caption.replace(" left of ", "|").replace(" above ", "|").split("|")]
        middles = picture.reshape(3, 32, 3, 32).max(axis=(1, 3))
        assert sorted(np.rint(middles[middles > 0] * 10).astype(int) - 1) == sorted(said)


def test_digits_are_a_few_pixels_off_their_place_and_cut_at_the_edge():
    rng, image = np.random.default_rng(0), np.zeros((28, 28), "float32")
    image[0, 0] = image[27, 27] = 1
    tops = set()
    for _ in range(200):
        picture = np.zeros((96, 96), "float32")
        captions.place(picture, image, 1, 1, rng)
        (top, left), bottom = np.argwhere(picture)
        assert tuple(bottom - (top, left)) == (27, 27)
        tops |= {int(top), int(left)}
        corner = np.zeros((32, 32), "float32")
        captions.place(corner, image, 0, 0, rng)
        assert corner.sum() <= 2
    assert tops == set(range(34 - 4, 34 + 5))
    X, y = captions.single((np.ones((20, 28, 28)), np.arange(20) % 10), 2, rng)
    assert X.shape == (42, 32, 32) and y.tolist() == [*(np.arange(40) % 20 % 10), 10, 10]
    assert not X[40:].any() and (X[:40].sum(axis=(1, 2)) >= 26 * 26).all()


def test_features_are_of_each_place_and_say_where_it_is():
    rng = np.random.default_rng(0)
    encoder = Sequential(GRU(32, 4, bidirectional=True, seed=0), MeanOverTime())
    pixels = rng.random((5, 96, 96), np.float32)
    found = captions.features(encoder, pixels)
    assert found.shape == (5, 9, 8 + 6) and found.dtype == np.float32
    for row, column in itertools.product(range(3), repeat=2):
        part = pixels[2:3, 32 * row : 32 * row + 32, 32 * column : 32 * column + 32]
        one = found[2, 3 * row + column]
        assert np.array_equal(one[:8], encoder(part)[0][0])
        assert one[8:].tolist() == [*np.eye(3)[row], *np.eye(3)[column]]


def test_no_digit_is_in_two_parts(tmp_path):
    numbers = np.arange(10_000)
    images = np.zeros((10_000, 28, 28), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = numbers % 256, numbers // 256
    for name, head, values in zip(captions.FILES, (16, 8), (images, (numbers % 10).astype(np.uint8))):
        (tmp_path / name).write_bytes(gzip.compress(bytes(head) + values.tobytes(), 1))
    parts = captions.read_digits(tmp_path)
    known = [np.rint(x[:, 0, 0] * 255 + x[:, 0, 1] * 255 * 256).astype(int) for x, _ in parts.values()]
    assert sorted(np.concatenate(known)) == list(range(10_000)) and [len(k) for k in known] == [8000, 1000, 1000]
    assert all((labels == k % 10).all() for k, (_, labels) in zip(known, parts.values()))
    (tmp_path / captions.FILES[1]).write_bytes(gzip.compress(bytes(9)))
    with pytest.raises(ValueError, match="--data: expected 10,000 images and labels, found 10,000 and 1 in"):
        captions.read_digits(tmp_path)
