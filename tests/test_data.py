"""Splits: disjoint, by seed, standardized with the training part alone."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from dropnorm.data import digits

PIXELS, LABELS = load_digits(return_X_y=True)


def as_images(split):
    """Undo the standardization: the darkest pixel is 0 and the brightest 16."""
    x = np.concatenate([split.x_train, split.x_val, split.x_test])
    return (x - x.min()) / (x.max() - x.min()) * 16


def test_digits_are_the_images_once_each_with_their_labels():
    split = digits(3)
    images = np.round(as_images(split)).astype(int)
    labels = np.concatenate([split.y_train, split.y_val, split.y_test])
    expected = np.column_stack([PIXELS.astype(int), LABELS]).tolist()
    assert sorted(np.column_stack([images, labels]).tolist()) == sorted(expected)
    assert split.x_train.dtype == np.float64 and split.y_train.dtype == np.int64


def test_digits_are_standardized_on_the_training_part_alone():
    split = digits(0, n_train=100, n_val=50, n_test=20)
    assert [len(a) for a in split] == [100, 100, 50, 50, 20, 20]
    assert split.x_train.mean() == pytest.approx(0, abs=1e-12)
    assert split.x_train.std() == pytest.approx(1)
    assert split.x_test.mean() != pytest.approx(0, abs=1e-6)


def test_the_seed_decides_the_split():
    np.testing.assert_array_equal(digits(1).x_test, digits(1).x_test)
    assert (digits(1).x_test != digits(2).x_test).any()


@pytest.mark.parametrize(
    "sizes, error, message",
    [
        ({"n_train": 0}, ValueError, "n_train must be at least 1, got 0"),
        ({"n_val": 2.5}, TypeError, "n_val must be an integer, got 2.5"),
        ({"n_test": 1797}, ValueError, "must be at most 1797, got 1000"),
    ],
)
def test_bad_sizes_are_named(sizes, error, message):
    with pytest.raises(error, match=message):
        digits(0, **sizes)
