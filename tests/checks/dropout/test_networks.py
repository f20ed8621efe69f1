"""Exercises on networks: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from scipy.special import log_softmax, softmax

from dropnorm import checks, data, layers, optim

# linear_backward


def by_products(dy, x, weight):
    return dy @ weight, dy.T @ x, dy.sum(axis=0)


def by_einsum(dy, x, weight):
    return [
        np.einsum("no,oi->ni", dy, weight),
        np.einsum("no,ni->oi", dy, x),
        np.einsum("no->o", dy),
    ]


def by_loops(dy, x, weight):
    dweight = sum(np.outer(d, row) for d, row in zip(dy, x, strict=True))
    return np.stack([weight.T @ d for d in dy]), dweight, np.ones(len(dy)) @ dy


def of_the_package(dy, x, weight):
    return layers.linear_backward(dy, (x, weight))


def by_autograd(dy, x, weight):
    x, weight = (torch.tensor(a, requires_grad=True) for a in (x, weight))
    bias = torch.zeros(len(weight), dtype=weight.dtype, requires_grad=True)
    y = F.linear(x, weight, bias)
    gradients = torch.autograd.grad(y, (x, weight, bias), torch.from_numpy(dy))
    return tuple(g.numpy() for g in gradients)


@pytest.mark.parametrize(
    "backward", [by_products, by_einsum, by_loops, of_the_package, by_autograd]
)
def test_linear_backward_accepts(backward):
    passes(checks.dropout.linear_backward, backward)


def in_place(dy, x, weight):
    dy *= 2
    return by_products(dy / 2, x, weight)


WRONG_LINEAR = {
    "W transposed": (
        lambda dy, x, w: (dy @ w.T, dy.T @ x, dy.sum(axis=0)),
        "raised ValueError: matmul",
    ),
    "W transposed where it fits": (
        lambda dy, x, w: (
            dy @ (w.T if w.shape[0] == w.shape[1] else w),
            dy.T @ x,
            dy.sum(axis=0),
        ),
        "dx is wrong: that is dy Wᵀ",
    ),
    "dW transposed": (
        lambda dy, x, w: (dy @ w, x.T @ dy, dy.sum(axis=0)),
        "of Wᵀ: a gradient has the shape",
    ),
    "dW transposed where it fits": (
        lambda dy, x, w: (
            dy @ w,
            x.T @ dy if w.shape[0] == w.shape[1] else dy.T @ x,
            dy.sum(axis=0),
        ),
        "dweight is wrong: that is the transpose",
    ),
    "dW a mean": (
        lambda dy, x, w: (dy @ w, dy.T @ x / len(x), dy.sum(axis=0)),
        "dweight is wrong: that is the mean over the batch",
    ),
    "db a mean": (
        lambda dy, x, w: (dy @ w, dy.T @ x, dy.mean(axis=0)),
        "dbias is wrong: that is the mean over the batch",
    ),
    "db over units": (
        lambda dy, x, w: (dy @ w, dy.T @ x, dy.sum(axis=1)),
        "which axis of dy is summed over",
    ),
    "db not summed": (
        lambda dy, x, w: (dy @ w, dy.T @ x, dy),
        "which axis of dy is summed over",
    ),
    "db with two axes": (
        lambda dy, x, w: (dy @ w, dy.T @ x, dy.sum(axis=0, keepdims=True)),
        "which axis of dy is summed over",
    ),
    "dW of x": (
        lambda dy, x, w: (dy @ w, np.ones_like(dy).T @ x, dy.sum(axis=0)),
        "dweight is wrong: which sum",
    ),
    "other order": (
        lambda dy, x, w: (dy.T @ x, dy @ w, dy.sum(axis=0)),
        "in the place of dx stands dweight",
    ),
    "in place": (in_place, "changes its input dy"),
    "dx alone": (lambda dy, x, w: dy @ w, "dweight, dbias, got one"),
    "two": (lambda dy, x, w: (dy @ w, dy.T @ x), "got 2"),
    "lists": (lambda dy, x, w: [g.tolist() for g in by_products(dy, x, w)], "a list"),
    "NaN": (lambda dy, x, w: [g * np.nan for g in by_products(dy, x, w)], "holds nan"),
    "numbers": (lambda dy, x, w: (1, 2, 3), "is a int"),
    "no return": (lambda dy, x, w: print(dy), "is a `return` missing"),
    "text": ("dy @ weight", "expected a function"),
}


@pytest.mark.parametrize("name", WRONG_LINEAR)
def test_linear_backward_names_what_is_wrong(name):
    backward, words = WRONG_LINEAR[name]
    fails(checks.dropout.linear_backward, backward, words=words)


# cross_entropy


def with_log_softmax(logits, target):
    n = len(logits)
    log_p = log_softmax(logits, axis=1)
    one_hot = np.eye(logits.shape[1])[target]
    return -(one_hot * log_p).sum() / n, (np.exp(log_p) - one_hot) / n


def with_logsumexp(logits, target):
    n, rows = len(logits), np.arange(len(logits))
    top = logits.max(axis=1)
    total = np.log(np.exp(logits - top[:, None]).sum(axis=1)) + top
    dlogits = np.exp(logits - total[:, None]) / n
    dlogits[rows, target] -= 1 / n
    return np.mean(total - logits[rows, target]), dlogits


def with_torch(logits, target):
    z = torch.tensor(logits, requires_grad=True)
    loss = F.cross_entropy(z, torch.from_numpy(target))
    loss.backward()
    return loss.item(), z.grad.numpy()


def with_the_package(logits, target):
    loss, cache = layers.cross_entropy_forward(logits, target)
    return loss, layers.cross_entropy_backward(cache)


@pytest.mark.parametrize(
    "function", [with_log_softmax, with_logsumexp, with_torch, with_the_package]
)
def test_cross_entropy_accepts(function):
    passes(checks.dropout.cross_entropy, function)


def entropy_of(softmax, log=np.log):
    """The textbook's two lines, with that softmax."""

    def function(logits, target):
        n, rows = len(logits), np.arange(len(logits))
        p = softmax(logits)
        loss = -log(p[rows, target]).mean()
        p[rows, target] -= 1
        return loss, p / n

    return function


def plain(z):
    e = np.exp(z)
    return e / e.sum(axis=1, keepdims=True)


def shifted(z):
    return plain(z - z.max(axis=1, keepdims=True))


def shifted_by_one_number(z):
    return plain(z - z.max())


def altered(loss=lambda v, n, k: v, gradient=lambda g, n, k: g):
    def function(logits, target):
        value, dlogits = with_log_softmax(logits, target)
        n, k = logits.shape
        return loss(value, n, k), gradient(dlogits, n, k)

    return function


def zero_in_place(logits, target):
    logits -= logits.max(axis=1, keepdims=True)
    return with_log_softmax(logits, target)


def forgets_target(logits, target):
    loss, _ = with_log_softmax(logits, target)
    return loss, softmax(logits, axis=1) / len(logits)


def over_examples(logits, target):
    log_p = log_softmax(logits, axis=0)
    _, dlogits = with_log_softmax(logits, target)
    return -log_p[np.arange(len(logits)), target].mean(), dlogits


WRONG_ENTROPY = {
    "overflow": (entropy_of(plain), "which one keeps exp small"),
    "overflow unseen": (
        entropy_of(lambda z: plain(np.minimum(z, 500))),
        "which one keeps exp small",
    ),
    "one shift for the batch": (
        entropy_of(shifted_by_one_number),
        "of each example subtracted, or that of the whole batch",
    ),
    "log of 0": (entropy_of(shifted), "the logarithm taken of a number"),
    "log of almost 0": (
        entropy_of(shifted, lambda p: np.log(p + 1e-12)),
        "the logarithm taken of a number",
    ),
    "log of clipped": (
        entropy_of(shifted, lambda p: np.log(np.clip(p, 1e-15, 1))),
        "the logarithm taken of a number",
    ),
    "bits": (entropy_of(shifted, np.log2), "in bits"),
    "sum": (altered(loss=lambda v, n, k: n * v), "the sum over the examples"),
    "sign": (altered(loss=lambda v, n, k: -v), "its sign is reversed"),
    "mean over all": (altered(loss=lambda v, n, k: v / k), "examples and classes"),
    "over the examples": (over_examples, "taken over the examples, axis 0"),
    "gradient of the sum": (
        altered(gradient=lambda g, n, k: n * g),
        "divided by the number of examples",
    ),
    "gradient's sign": (
        altered(gradient=lambda g, n, k: -g),
        "dlogits is wrong: its sign",
    ),
    "gradient over all": (
        altered(gradient=lambda g, n, k: g / k),
        "divided by examples and classes",
    ),
    "softmax / N": (forgets_target, "what does the right class subtract"),
    "softmax": (
        lambda z, t: (with_log_softmax(z, t)[0], softmax(z, axis=1)),
        "that is softmax alone",
    ),
    "zero gradient": (
        altered(gradient=lambda g, n, k: 0 * g),
        "try central differences",
    ),
    "no softmax": (
        lambda z, t: (-z[np.arange(len(z)), t].mean(), z),
        "is the softmax missing",
    ),
    "no logarithm": (
        lambda z, t: (1 - shifted(z)[np.arange(len(z)), t].mean(), z),
        "without a logarithm",
    ),
    "something else": (lambda z, t: (3.21, z), "what is -log p of the right class"),
    "in place": (zero_in_place, "changes its input logits"),
    "losses": (lambda z, t: (log_softmax(z, axis=1)[:, 0], z), "expected a number"),
    "loss alone": (lambda z, t: with_log_softmax(z, t)[0], "loss, dlogits, got one"),
    "infinite": (lambda z, t: (np.inf, z), "expected a finite number"),
    "huge": (lambda z, t: (10**400, z), "expected a number"),
    "raises": (lambda z, t: z[t, t, t], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_ENTROPY)
def test_cross_entropy_names_what_is_wrong(name):
    function, words = WRONG_ENTROPY[name]
    fails(checks.dropout.cross_entropy, function, words=words)


# loop


def fit_with(
    *,
    switch_on=True,
    switch_off=True,
    order=lambda n, epoch, rng: rng.permutation(n),
    rows_of=lambda order, start, size: order[start : start + size],
    labels=lambda y, rows: y[rows],
    step_first=False,
    part="val",
    score=lambda right: right.mean(),
    accumulate=lambda accuracies: accuracies,
):
    """A loop, right unless something is chosen."""

    def fit(net, loss, optimizer, split, epochs, batch_size, rng):
        accuracies, n = [], len(split.x_train)
        for epoch in range(epochs):
            if switch_on:
                net.train()
            numbers = order(n, epoch, rng)
            for start in range(0, n, batch_size):
                rows = rows_of(numbers, start, batch_size)
                loss(net(split.x_train[rows]), labels(split.y_train, rows))
                if step_first:
                    optimizer.step()
                net.backward(loss.backward())
                if not step_first:
                    optimizer.step()
            if switch_off:
                net.eval()
            x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
            accuracies.append(score(net(x).argmax(axis=1) == y))
        return accumulate(accuracies)

    return fit


def fit_with_shuffle(net, loss, optimizer, split, epochs, batch_size, rng):
    """Shuffles what is left, evaluates in pieces, spells the calls out."""
    order, accuracies = np.arange(len(split.x_train)), np.zeros(epochs)
    for epoch in range(epochs):
        rng.shuffle(order)
        net.train()
        for rows in np.split(order, range(batch_size, len(order), batch_size)):
            value = loss.forward(net.forward(split.x_train[rows]), split.y_train[rows])
            assert value > 0
            net.backward(loss.backward())
            optimizer.step()
        net.eval()
        hits = 0
        for start in range(0, len(split.x_val), 16):
            logits = net(split.x_val[start : start + 16])
            hits += (logits.argmax(1) == split.y_val[start : start + 16]).sum()
        accuracies[epoch] = hits / len(split.y_val)
    return accuracies


def fit_with_training_accuracy(net, loss, optimizer, split, epochs, batch_size, rng):
    """Looks at the training part too, in evaluation mode."""
    history = []
    for _ in range(epochs):
        history += fit_with()(net, loss, optimizer, split, 1, batch_size, rng)
        net(split.x_train)
    return history


@pytest.mark.parametrize(
    "fit",
    [
        fit_with(),
        fit_with(order=lambda n, epoch, rng: rng.random(n).argsort()),
        fit_with_shuffle,
        fit_with_training_accuracy,
    ],
)
def test_loop_accepts(fit):
    passes(checks.dropout.loop, fit)


def test_the_right_loop_trains_a_network():
    rng = np.random.default_rng(0)
    net = layers.Sequential(
        layers.Linear(64, 32, rng=rng),
        layers.ReLU(),
        layers.Dropout(0.2, rng=rng),
        layers.Linear(32, 10, rng=rng),
    )
    loss, optimizer = layers.CrossEntropyLoss(), optim.SGD(net, lr=0.1, momentum=0.9)
    accuracies = fit_with()(net, loss, optimizer, data.digits(0), 4, 50, rng)
    assert accuracies[-1] > 0.9


def of_the_articles(net, loss, optimizer, split, epochs, batch_size, rng):
    accuracies = []
    for _ in range(epochs):
        for _ in range(0, len(split.x_train), batch_size):
            loss = loss(net(split.x_train), split.y_train)
            optimizer.step()
            net.backward(loss.backward())
        net.eval()
        logits = net(split.x_test)
        right = logits.argmax(axis=1) == split.y_test
        accuracies.append(right.mean())
    return accuracies


def rebinds(net, loss, optimizer, split, epochs, batch_size, rng):
    for rows in np.array_split(rng.permutation(len(split.x_train)), 4):
        loss = loss(net(split.x_train[rows]), split.y_train[rows])
        net.backward(loss.backward())
        optimizer.step()


def rebinds_later(net, loss, optimizer, split, epochs, batch_size, rng):
    way_back = loss.backward
    for rows in np.array_split(rng.permutation(len(split.x_train)), 4):
        loss = loss(net(split.x_train[rows]), split.y_train[rows])
        net.backward(way_back())
        optimizer.step()


def drops_last(net, loss, optimizer, split, epochs, batch_size, rng):
    for _ in range(epochs):
        order = rng.permutation(len(split.x_train))
        for rows in order[: len(order) // batch_size * batch_size].reshape(-1, 8):
            loss(net(split.x_train[rows]), split.y_train[rows])
            net.backward(loss.backward())
            optimizer.step()
    return [0.5] * epochs


def without_a_loss(net, loss, optimizer, split, epochs, batch_size, rng):
    net(split.x_train[:4])
    net.backward(loss.backward())


def of_another_gradient(net, loss, optimizer, split, epochs, batch_size, rng):
    net.backward(loss(net(split.x_train[:4]), split.y_train[:4]))


def on_validation(net, loss, optimizer, split, epochs, batch_size, rng):
    net.eval()
    loss(net(split.x_val), split.y_val)
    net.backward(loss.backward())
    optimizer.step()


def mixes_parts(net, loss, optimizer, split, epochs, batch_size, rng):
    net(np.concatenate([split.x_train, split.x_val]))


def other_rows(net, loss, optimizer, split, epochs, batch_size, rng):
    net(split.x_train[:, :2])


WRONG_LOOPS = {
    "the articles'": (of_the_articles, "in which order do the four calls"),
    "loss rebound": (rebinds, "no attribute 'backward': does `loss` now hold"),
    "loss rebound later": (rebinds_later, "not callable: does `loss` now hold"),
    "step first": (fit_with(step_first=True), "in which order do the four calls"),
    "whole training set": (
        fit_with(rows_of=lambda order, start, size: order),
        "a step sees all 29 training examples",
    ),
    "two batches at once": (
        fit_with(rows_of=lambda order, start, size: order[start : start + 2 * size]),
        "a batch has 16 examples",
    ),
    "no shuffling": (
        fit_with(order=lambda n, epoch, rng: np.arange(n)),
        "in the same order in every epoch",
    ),
    "shuffled once": (
        fit_with(order=lambda n, epoch, rng: np.random.default_rng(0).permutation(n)),
        "in the same order in every epoch",
    ),
    "seeded by the epoch": (
        fit_with(
            order=lambda n, epoch, rng: np.random.default_rng(epoch).permutation(n)
        ),
        "another generator gives the same order",
    ),
    "the global generator": (
        fit_with(order=lambda n, epoch, rng: np.random.permutation(n)),
        "is the order drawn from `rng`",
    ),
    "with replacement": (
        fit_with(order=lambda n, epoch, rng: rng.integers(n, size=n)),
        "with replacement",
    ),
    "labels unshuffled": (
        fit_with(labels=lambda y, rows: y[: len(rows)]),
        "by the same rows",
    ),
    "never back": (
        fit_with(switch_on=False),
        "in epoch 2 the network is trained in evaluation mode",
    ),
    "never off": (fit_with(switch_off=False), "measured in training mode"),
    "test part": (fit_with(part="test"), "sees the test part"),
    "training part": (fit_with(part="train"), "is it measured on the whole validation"),
    "per cent": (fit_with(score=lambda r: 100 * r.mean()), "not per cent"),
    "error": (fit_with(score=lambda r: 1 - r.mean()), "is that the error"),
    "hits": (fit_with(score=lambda r: r.sum()), "on the whole validation part"),
    "the last": (fit_with(accumulate=lambda a: a[-1]), "expected a list of accuracies"),
    "the best": (fit_with(accumulate=lambda a: [max(a)]), "returned 1 accuracies"),
    "no return": (fit_with(accumulate=lambda a: None), "is a `return` missing"),
    "text": (fit_with(accumulate=lambda a: "abc"), "expected a list of accuracies"),
    "last batch dropped": (drops_last, "is the last, smaller batch left out"),
    "last batch empty": (
        fit_with(order=lambda n, epoch, rng: rng.permutation(n)[:24]),
        "several parts of the split, or none",
    ),
    "one epoch": (
        lambda n, lo, o, s, epochs, *a: fit_with()(n, lo, o, s, 1, *a),
        "is only one epoch trained",
    ),
    "no step": (lambda *a: [0.1, 0.2, 0.3], "there are 0 steps"),
    "no loss": (without_a_loss, "before the loss of this batch"),
    "another gradient": (of_another_gradient, "what loss.backward() returns"),
    "on validation": (on_validation, "a step is made on the val part"),
    "parts mixed": (mixes_parts, "several parts"),
    "columns cut": (other_rows, "expected rows of a part"),
    "raises": (lambda *a: a[3].x_tset, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_LOOPS)
def test_loop_names_what_is_wrong(name):
    fit, words = WRONG_LOOPS[name]
    fails(checks.dropout.loop, fit, words=words)
