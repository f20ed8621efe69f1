"""What all layers share."""

import numpy as np
import pytest

from dropnorm import reproducible
from dropnorm.layers import Dropout, Layer, Linear, ReLU


def test_parameters_are_assigned_in_place():
    layer = Linear(2, 1)
    layer.weight[...] = [[1, 2]]
    layer.bias += 1
    np.testing.assert_array_equal(layer.params["weight"], [[1, 2]])
    with pytest.raises(AttributeError, match=r"layer\.weight\[\.\.\.\] = value"):
        layer.weight = np.zeros((1, 2))
    with pytest.raises(AttributeError, match="Linear has no attribute 'wieght'"):
        _ = layer.wieght


def test_rng_none_is_the_packages_generator():
    def draw():
        return Linear(3, 2).weight, Dropout(0.4)(np.ones((20, 20)))

    reproducible(5)
    first = draw()
    reproducible(5)
    again, further = draw(), draw()
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert (first[1] != further[1]).any()


@pytest.mark.parametrize("dy", [np.ones((2, 4)), np.ones((2, 3), dtype=int)])
def test_a_bad_gradient_is_named(dy):
    layer = ReLU()
    layer(X)
    message = r"dy must have the output's shape \(2, 3\), got \(2, 4\)|dy .* int64"
    with pytest.raises((TypeError, ValueError), match=message):
        layer.backward(dy)


X = np.ones((2, 3))
BAD = [
    (lambda: Layer()(X), NotImplementedError, "Layer defines no _forward"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
