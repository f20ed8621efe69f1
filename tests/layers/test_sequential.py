"""Layers in a row."""

import numpy as np
import pytest
import torch
from oracles import normal

from dropnorm.gradcheck import gradcheck
from dropnorm.layers import Dropout, Linear, ReLU, Sequential


@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_network(training):
    rng = np.random.default_rng(0)
    net = Sequential(
        Linear(4, 6, rng=rng), ReLU(), Dropout(0.3, rng=rng), Linear(6, 3, rng=rng)
    )
    report = gradcheck(net if training else net.eval(), normal(5, 4))
    assert report.passed, report
    assert set(report.errors) == {"x", *net.params}


def test_sequential_shares_arrays_and_mode():
    net = Sequential(Linear(2, 3), Sequential(Dropout(), Linear(3, 1)))
    names = {"0.weight", "0.bias", "1.1.weight", "1.1.bias"}
    assert set(net.params) == names and net.buffers == {}
    net.params["1.1.weight"][...] = 7
    assert (net[1][1].weight == 7).all()
    net.eval()
    assert not net[1][0].training and not net.training
    net.train()
    assert net[1][0].training and net.training
    net(np.ones((4, 2)))
    net.backward(np.ones((4, 1)))
    assert set(net.grads) == names and len(net) == 2


X = np.ones((2, 3))
BAD = [
    (lambda: Sequential(ReLU(), torch.nn.ReLU()), TypeError,
     "layer 1 must be a Layer"),
    (lambda: Sequential(ReLU()).backward(X), ValueError,
     "backward of Sequential needs a forward"),
]  # fmt: skip


@pytest.mark.parametrize("action, error, message", BAD)
def test_bad_input_is_named(action, error, message):
    with pytest.raises(error, match=message):
        action()
