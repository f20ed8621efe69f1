"""The NumPy optimizers against PyTorch's, step by step."""

import numpy as np
import pytest
import torch

from dropnorm.data import digits
from dropnorm.layers import CrossEntropyLoss, Linear, ReLU, Sequential
from dropnorm.optim import SGD


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-2])
def test_sgd_on_digits_equals_torch(momentum, weight_decay):
    split = digits(0, n_train=320)
    rng = np.random.default_rng(0)
    net = Sequential(Linear(64, 20, rng=rng), ReLU(), Linear(20, 10, rng=rng))
    twin = torch.nn.Sequential(
        torch.nn.Linear(64, 20), torch.nn.ReLU(), torch.nn.Linear(20, 10)
    ).double()
    with torch.no_grad():
        for name, parameter in twin.named_parameters():
            parameter.copy_(torch.from_numpy(net.params[name]))
    loss = CrossEntropyLoss()
    ours = SGD(net, lr=0.1, momentum=momentum, weight_decay=weight_decay)
    theirs = torch.optim.SGD(
        twin.parameters(), lr=0.1, momentum=momentum, weight_decay=weight_decay
    )
    losses = []
    for step in range(100):
        rows = np.arange(32) + 32 * (step % 10)
        x, y = split.x_train[rows], split.y_train[rows]
        losses.append(loss(net(x), y))
        net.backward(loss.backward())
        ours.step()

        theirs.zero_grad()
        reference = torch.nn.functional.cross_entropy(
            twin(torch.from_numpy(x)), torch.from_numpy(y)
        )
        reference.backward()
        theirs.step()
        assert losses[-1] == pytest.approx(reference.item(), abs=1e-9)
    assert losses[-1] < losses[0] / 4  # and it learns


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"lr": -1}, ValueError, "lr must be finite and at least 0, got -1"),
        ({"lr": float("nan")}, ValueError, "got nan"),
        ({"momentum": "much"}, TypeError, "momentum must be a number, got 'much'"),
        ({"weight_decay": float("inf")}, ValueError, "weight_decay .* got inf"),
    ],
)
def test_bad_options_are_named(options, error, message):
    with pytest.raises(error, match=message):
        SGD(Linear(2, 1), **options)


def test_step_before_backward_is_named():
    with pytest.raises(ValueError, match="weight has no gradient: call backward"):
        SGD(Linear(2, 1)).step()
