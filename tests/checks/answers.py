"""How a checker has to take an answer: shared by the tests of the checkers."""

import numpy as np

from dropnorm import data, layers

SEEDS = range(6)


def passes(check, *answers, seeds=SEEDS):
    for seed in seeds:
        result = check(*answers, seed=seed)
        assert result.status == "passed", (seed, result)


def fails(check, *answers, words, seeds=SEEDS):
    """`words` are in each message; "this|that" asks for one of several."""
    for seed in seeds:
        result = check(*answers, seed=seed)
        assert result.status == "failed", (seed, result)
        assert any(w in result.message for w in words.split("|")), (seed, result)


def train(seed, p, width):
    """What the exercises that measure a network are given: it, and its data."""
    split = data.digits(seed)
    rng = np.random.default_rng(seed)
    net = layers.Sequential(
        layers.Linear(64, width, rng=rng),
        layers.ReLU(),
        layers.Dropout(p, rng=rng),
        layers.Linear(width, 10, rng=rng),
    )
    loss = layers.CrossEntropyLoss()
    for _ in range(60):
        batch = rng.integers(len(split.x_train), size=50)
        loss(net(split.x_train[batch]), split.y_train[batch])
        net.backward(loss.backward())
        for name, weight in net.params.items():
            weight -= 0.2 * net.grads[name]
    return net, split
