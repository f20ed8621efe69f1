"""Exercises of the chapter foundations/networks."""

from types import SimpleNamespace

import numpy as np
from scipy.special import log_softmax, softmax

from dropnorm.checks.base import (
    Wrong,
    call,
    check_array,
    checker,
    number,
    pure,
    recognize,
    unpack,
)


@checker
def linear_backward(backward, *, seed=0):
    """``backward(dy, x, weight)`` returns dx, dweight and dbias of y = x Wᵀ + b."""
    rng = np.random.default_rng(seed)
    names = ["dx", "dweight", "dbias"]
    # In a square layer a transposed matrix has the right shape.
    for n, n_in, n_out in ((5, 4, 3), (4, 4, 4), (1, 6, 2)):
        x, dy = rng.standard_normal((n, n_in)), rng.standard_normal((n, n_out))
        weight = rng.standard_normal((n_out, n_in))
        expected = {"dx": dy @ weight, "dweight": dy.T @ x, "dbias": dy.sum(axis=0)}
        known = {
            "dx": {},
            "dweight": {
                "that is the transpose of dW": expected["dweight"].T,
                "that is the mean over the batch: what does the sum over the "
                "examples need no more?": expected["dweight"] / n,
            },
            "dbias": {
                "that is the mean over the batch: the gradient of a loss that sums "
                "over the examples sums over them too": dy.mean(axis=0),
                "dy is summed over the units": dy.sum(axis=1),
            },
        }
        if n_in == n_out:
            known["dx"]["that is dy Wᵀ: which index of W is summed over?"] = (
                dy @ weight.T
            )
        when = f"for {n} examples, {n_in} inputs and {n_out} units"
        result = pure(backward, {"dy": dy, "x": x, "weight": weight}, when=when)
        result = unpack(result, names)
        _check_order(result, list(expected.values()), names)
        for name, value in zip(names, result, strict=True):
            _check_shape(name, value, expected[name])
            check_array(value, like=expected[name], when=f"{when}, {name}:")
            if not np.allclose(value, expected[name]):
                words = recognize(value, known[name], "which sum is that entry's?")
                raise Wrong(f"{when} {name} is wrong: {words}")


def _check_order(result, expected, names):
    """Right arrays in the wrong order."""

    def same(a, b):
        return np.shape(a) == np.shape(b) and np.allclose(a, b)

    for value, right, name in zip(result, expected, names, strict=True):
        for other, theirs in zip(names, expected, strict=True):
            if same(value, theirs) and not same(value, right):
                raise Wrong(f"in the place of {name} stands {other}")


def _check_shape(name, value, expected):
    """Name the commonest wrong shapes; `check_array` names the others."""
    shape = np.shape(value)
    if shape == expected.shape:
        return
    if name == "dweight" and shape == expected.shape[::-1]:
        raise Wrong(
            f"dweight has the shape {shape} of Wᵀ: a gradient has the shape of what "
            f"it belongs to, here {expected.shape}"
        )
    if name == "dbias":
        raise Wrong(
            f"dbias has the shape {shape}, expected {expected.shape}: the bias is "
            "added to every example, so which axis of dy is summed over?"
        )


@checker
def cross_entropy(function, *, seed=0):
    """``function(logits, target)`` returns the mean loss and its gradient."""
    rng = np.random.default_rng(seed)
    n, k = 6, 4
    logits, target = rng.standard_normal((n, k)), rng.integers(k, size=n)
    target[:2] = 0, k - 1

    def run(logits, target, when=""):
        arrays = {"logits": logits, "target": target}
        result = pure(function, arrays, when=when)
        loss, dlogits = unpack(result, ["loss", "dlogits"])
        loss = number(loss, f"{when} the loss".strip())
        check_array(dlogits, like=logits, when=f"{when} dlogits:".strip())
        return loss, dlogits

    _check_cross_entropy(*run(logits, target), logits, target)

    def run_large(logits, target, when, question):
        try:
            loss, dlogits = run(logits, target, when)
        except Wrong as wrong:
            raise Wrong(f"{wrong}: {question}") from None
        expected, gradient = _cross_entropy(logits, target)
        if not np.isclose(loss, expected):
            raise Wrong(
                f"{when} the loss is {loss:.4g}, expected {expected:.4g}: {question}"
            )
        if not np.allclose(dlogits, gradient):
            raise Wrong(f"{when} dlogits is wrong: {question}")

    run_large(
        logits + 1000,
        target,
        "with logits near 1000",
        "softmax does not change when a number is subtracted from all logits of an "
        "example: which one keeps exp small?",
    )
    run_large(
        logits + np.linspace(-1000, 1000, n)[:, None],
        target,
        "with logits near -1000 in one example and near 1000 in another",
        "is the largest logit of each example subtracted, or that of the whole batch?",
    )
    far = np.zeros((2, k))
    far[:, 0] = 900, -900
    run_large(
        far,
        np.array([1, 0]),
        "with a right class that gets a probability below 1e-300",
        "is the logarithm taken of a number that was rounded to 0, or kept away from "
        "it? Write log softmax as z minus a logarithm",
    )


def _cross_entropy(logits, target):
    rows = np.arange(len(logits))
    loss = -log_softmax(logits, axis=1)[rows, target].mean()
    gradient = softmax(logits, axis=1)
    gradient[rows, target] -= 1
    return loss, gradient / len(logits)


def _check_cross_entropy(loss, dlogits, logits, target):
    n, k = logits.shape
    rows = np.arange(n)
    probabilities = softmax(logits, axis=1)
    right, gradient = _cross_entropy(logits, target)
    known = {
        "that is the sum over the examples, expected their mean": n * right,
        "its sign is reversed: the logarithm of a probability is negative": -right,
        "that is the mean over examples and classes": right / k,
        "is softmax taken over the examples, axis 0, in place of the classes?": (
            -log_softmax(logits, axis=0)[rows, target].mean()
        ),
        "that is in bits: which logarithm?": right / np.log(2),
        "that is the mean of 1 - p, without a logarithm": (
            1 - probabilities[rows, target].mean()
        ),
        "is the softmax missing? That is the mean of the right logits, with the sign "
        "reversed": -logits[rows, target].mean(),
    }
    if not np.isclose(loss, right):
        words = recognize(loss, known, "what is -log p of the right class?")
        raise Wrong(f"the loss is {loss:.4g}, expected {right:.4g}: {words}")
    known = {
        "is it divided by the number of examples? The loss is their mean": n * gradient,
        "its sign is reversed": -gradient,
        "that is softmax alone: what does the right class subtract?": probabilities,
        "that is softmax / N: what does the right class subtract?": probabilities / n,
        "it is divided by examples and classes": gradient / k,
    }
    if not np.allclose(dlogits, gradient):
        words = recognize(dlogits, known, "try central differences on your loss")
        raise Wrong(f"dlogits is wrong: {words}")


@checker
def loop(fit, *, seed=0):
    """``fit(net, loss, optimizer, split, epochs, batch_size, rng)``: accuracies.

    Net, loss and optimizer are dummies that know which rows they see, in which order
    they are called and in which mode.
    """
    rng = np.random.default_rng(seed)
    orders = []
    for draw in (seed, seed, seed + 1):
        recorder = _Recorder(rng, epochs=3, batch_size=8)
        recorder.run(fit, np.random.default_rng(draw))
        orders.append(recorder.order)
    if orders[0] != orders[1]:
        raise Wrong(
            "generators in the same state give different orders: is the order drawn "
            "from `rng`?"
        )
    if orders[0] == orders[2]:
        raise Wrong(
            "another generator gives the same order: is one made, or seeded, inside "
            "your code?"
        )


class _Recorder:
    """A network, a loss and an optimizer that watch a training loop.

    Row i of a part is (part, i, 0, 0), so a batch tells which examples it holds.
    """

    PARTS = ("train", "val", "test")
    CLASSES = 4

    def __init__(self, rng, epochs, batch_size):
        self.epochs, self.batch_size = epochs, batch_size
        sizes = {"train": 3 * batch_size + 5, "val": 40, "test": 40}
        self.n = sizes["train"]
        self.y = {part: rng.integers(self.CLASSES, size=sizes[part]) for part in sizes}
        # What the network answers differs from step to step, and in training mode.
        self.table = rng.standard_normal((97, 2, 97, self.CLASSES))
        x = {
            part: np.stack(
                [np.full(n, i), np.arange(n), np.zeros(n), np.zeros(n)], axis=1
            ).astype(float)
            for i, (part, n) in enumerate(sizes.items())
        }
        self.split = SimpleNamespace(
            **{f"x_{part}": x[part] for part in sizes},
            **{f"y_{part}": self.y[part].copy() for part in sizes},
        )
        self.training = True
        self.steps = 0
        self.order = []  # of the training examples, step by step
        self.batch = self.gradient = self.ready = None

    def run(self, fit, rng):
        net = SimpleNamespace(
            train=lambda: self._mode(True),
            eval=lambda: self._mode(False),
            forward=self._forward,
            backward=self._backward,
        )
        net = _Callable(net)
        loss = SimpleNamespace(forward=self._loss, backward=self._loss_backward)
        optimizer = SimpleNamespace(step=self._step)
        self.net = net
        try:
            result = call(
                fit,
                net,
                _Callable(loss),
                optimizer,
                self.split,
                self.epochs,
                self.batch_size,
                rng,
            )
        except Wrong as wrong:
            if "'float' object" in str(wrong):
                raise Wrong(f"{wrong}: does `loss` now hold a number?") from None
            raise
        self._check_steps()
        self._check_result(result)

    def _mode(self, training):
        self.training = training
        return self.net

    @property
    def epoch(self):
        """Which epoch the next step belongs to, by the examples seen so far."""
        return sum(map(len, self.order)) // self.n + 1

    def _rows(self, x):
        if not isinstance(x, np.ndarray) or x.ndim != 2 or x.shape[1] != 4:
            raise Wrong(f"the network gets {x!r}, expected rows of a part of the split")
        parts = {int(part) for part in x[:, 0]}
        if len(parts) != 1:
            raise Wrong("a batch holds examples of several parts of the split, or none")
        return self.PARTS[parts.pop()], x[:, 1].astype(int)

    def _forward(self, x):
        part, rows = self._rows(x)
        if part == "test":
            raise Wrong(
                "the network sees the test part: what is it for, if each epoch looks "
                "at it?"
            )
        self.batch = part, rows
        self.gradient = self.ready = None
        if part == "val" and self.training:
            raise Wrong(
                "the validation part is measured in training mode, with dropout on: "
                "what switches the mode?"
            )
        return self.table[self.steps % 97, int(self.training), rows].copy()

    def _loss(self, logits, target):
        part, rows = self.batch or ("none", ())
        if part == "train" and not np.array_equal(target, self.y["train"][rows]):
            raise Wrong(
                "the loss gets labels that are not those of the images in the batch: "
                "are x and y taken by the same rows?"
            )
        self.gradient = np.full((len(rows), self.CLASSES), 0.5)
        return 1.0

    def _loss_backward(self):
        if self.gradient is None:
            raise Wrong("loss.backward() is called before the loss of this batch")
        return self.gradient

    def _backward(self, dy):
        if self.gradient is None or dy is not self.gradient:
            raise Wrong(
                "net.backward does not get what loss.backward() returns for this batch"
            )
        self.ready = self.batch
        return np.zeros((len(self.batch[1]), 4))

    def _step(self):
        if self.ready is None:
            raise Wrong(
                "optimizer.step() comes without a forward and a backward pass of its "
                "own: in which order do the four calls stand?"
            )
        part, rows = self.ready
        if part != "train":
            raise Wrong(f"a step is made on the {part} part")
        if not self.training:
            raise Wrong(
                f"in epoch {self.epoch} the network is trained in evaluation mode: "
                "who switches it back after the accuracy was measured?"
            )
        if len(rows) == self.n:
            raise Wrong(
                f"a step sees all {self.n} training examples: where is batch_size used?"
            )
        if len(rows) > self.batch_size:
            raise Wrong(
                f"a batch has {len(rows)} examples, expected at most {self.batch_size}"
            )
        self.ready = None
        self.order.append(rows.tolist())
        self.steps += 1

    def _check_steps(self):
        per_epoch = -(-self.n // self.batch_size)
        if self.steps != self.epochs * per_epoch:
            hint = ""
            if self.steps == self.epochs * (self.n // self.batch_size):
                hint = ": is the last, smaller batch left out?"
            elif self.steps == per_epoch:
                hint = ": is only one epoch trained?"
            raise Wrong(
                f"there are {self.steps} steps, expected {per_epoch} in each of "
                f"{self.epochs} epochs of {self.n} examples" + hint
            )
        epochs = [
            sum(self.order[i * per_epoch : (i + 1) * per_epoch], [])
            for i in range(self.epochs)
        ]
        for i, rows in enumerate(epochs, 1):
            if sorted(rows) != list(range(self.n)):
                raise Wrong(
                    f"epoch {i} does not show every training example exactly once: "
                    "are the examples drawn with replacement?"
                )
        if epochs[0] == epochs[1] == epochs[2]:
            raise Wrong(
                "the examples come in the same order in every epoch: is the order "
                "drawn anew in each?"
            )

    def _check_result(self, result):
        if not isinstance(result, (list, tuple, np.ndarray)) or np.ndim(result) != 1:
            raise Wrong(f"fit returned {result!r}, expected a list of accuracies")
        if len(result) != self.epochs:
            raise Wrong(
                f"fit returned {len(result)} accuracies for {self.epochs} epochs"
            )
        per_epoch = self.steps // self.epochs
        rows = np.arange(len(self.y["val"]))
        for i, value in enumerate(result, 1):
            value = number(value, f"the accuracy after epoch {i}")
            logits = self.table[(i * per_epoch) % 97, 0, rows]
            right = float((logits.argmax(axis=1) == self.y["val"]).mean())
            if not np.isclose(value, right):
                hint = "is it measured on the whole validation part, after the epoch?"
                if np.isclose(value, 100 * right):
                    hint = "expected a share, not per cent"
                elif np.isclose(value, 1 - right):
                    hint = "is that the error?"
                raise Wrong(
                    f"the accuracy after epoch {i} is {value:.3f}, expected "
                    f"{right:.3f}: {hint}"
                )


class _Callable:
    """An object whose call is its `forward`, as layers and losses are."""

    def __init__(self, parts):
        self.__dict__.update(vars(parts))

    def __call__(self, *args):
        return self.forward(*args)
