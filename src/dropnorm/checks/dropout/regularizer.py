"""Exercises of the chapter dropout/regularizer."""

import numpy as np

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
def minimizer(solve, *, seed=0):
    """``solve(X, y, q)``: the weights that minimize the original form's mean loss."""
    rng = np.random.default_rng(seed)
    for q in rng.permutation([0.3, 0.6, 0.8, 1.0]):
        X = rng.standard_normal((12, 4)) * [1, 2, 3, 5] + 1
        y = rng.standard_normal(12) * 3
        when = f"at q = {q}"
        w = pure(solve, {"X": X, "y": y}, float(q), when=when)
        check_array(w, like=np.empty(4), when=when)
        G, Xy = X.T @ X, X.T @ y
        D, one = np.diag(np.diag(G)), np.eye(4)
        right = np.linalg.solve(q * G + (1 - q) * D, Xy)
        if np.allclose(w, right):
            continue
        known = {
            "that is least squares without dropout": np.linalg.solve(G, Xy),
            "that is least squares divided by q: what does the noise add?": (
                np.linalg.solve(G, Xy) / q
            ),
            "those are the weights of the inverted form. Here nothing is scaled in "
            "training": q * right,
            "the mean prediction is q X w: is that q on the right side too?": right / q,
            "every weight has the same penalty: which column does w_j multiply?": (
                np.linalg.solve(q * G + (1 - q) * one, Xy)
            ),
            "the penalty has 1 - q in place of q(1 - q): what is the variance of r?": (
                np.linalg.solve(q**2 * G + (1 - q) * D, q * Xy)
            ),
            "the penalty has q in place of q(1 - q): what is the variance of r?": (
                np.linalg.solve(q**2 * G + q * D, q * Xy)
            ),
            "keeping and dropping are exchanged": (
                np.linalg.solve((1 - q) * G + q * D, Xy)
            ),
            "the penalty is that of independent units alone: which terms of the "
            "square have i = j, and which have not?": Xy / np.diag(G),
            "is the penalty divided by the number of examples?": np.linalg.solve(
                q * G + (1 - q) * D / len(X), Xy
            ),
        }
        hint = "write the loss as bias² + variance, and set its gradient to 0"
        raise Wrong(
            f"{when} the weights do not minimize the mean loss: "
            + recognize(w, known, hint)
        )


@checker
def poisson(penalties, *, seed=0):
    """``penalties(X, beta, p)``: exact and quadratic, for A(z) = exp(z)."""
    rng = np.random.default_rng(seed)
    for p in rng.permutation([0.1, 0.3, 0.6]):
        X, beta = rng.standard_normal((7, 4)), rng.uniform(-0.6, 0.6, 4)
        when = f"at p = {p}"
        result = pure(penalties, {"X": X, "beta": beta}, float(p), when=when)
        exact, quadratic = (
            number(value, f"{when} the {name} penalty")
            for value, name in zip(
                unpack(result, ["exact", "quadratic"]),
                ["exact", "quadratic"],
                strict=True,
            )
        )
        t = X * beta
        z, noise = t.sum(axis=1), p / (1 - p) * (t**2).sum(axis=1)
        factors = p + (1 - p) * np.exp(t / (1 - p))
        mean, without = factors.prod(axis=1), np.exp(z)
        right = (mean - without).sum()
        right_quadratic = (without * noise).sum() / 2
        known = {
            "that is the mean of A alone: what does the penalty compare it with?": (
                mean.sum()
            ),
            "that is the mean over the examples, expected the sum": right / len(X),
            "the second is the exact one": right_quadratic,
            "are kept inputs scaled by 1/(1 - p)?": (
                (p + (1 - p) * np.exp(t)).prod(axis=1) - without
            ).sum(),
            "keeping and dropping are exchanged": (
                (1 - p + p * np.exp(t / p)).prod(axis=1) - without
            ).sum(),
            "a dropped input contributes exp(0): is that 0?": (
                ((1 - p) * np.exp(t / (1 - p))).prod(axis=1) - without
            ).sum(),
            "is one mask shared by all inputs of an example?": (
                p + (1 - p) * np.exp(z / (1 - p)) - without
            ).sum(),
            "that holds for normal noise of the same variance": (
                (np.exp(z + noise / 2) - without).sum()
            ),
            "is the mean of the factors' sum taken, in place of their product?": (
                factors.sum(axis=1) - without
            ).sum(),
            "is its sign reversed?": -right,
        }
        if not np.isclose(exact, right):
            hint = "exp of a sum is a product, and the masks are independent"
            raise Wrong(
                f"{when} the exact penalty is {exact:.4g}, expected {right:.4g}: "
                + recognize(exact, known, hint)
            )
        known = {
            "is the 1/2 of the second-order term missing?": 2 * right_quadratic,
            "that is the penalty of linear regression: what is A''?": noise.sum(),
            "that is half the penalty of linear regression: what is A''?": (
                noise.sum() / 2
            ),
            "A'' of the logistic model is used: what is that of exp?": (
                (noise / (1 + np.exp(-z)) / (1 + np.exp(z))).sum() / 2
            ),
            "that is the mean over the examples, expected the sum": (
                right_quadratic / len(X)
            ),
            "that is the exact penalty once more": right,
            "is p the variance of a factor?": right_quadratic * (1 - p),
            "that takes p(1 - p) for the variance: are kept inputs scaled?": (
                right_quadratic * (1 - p) ** 2
            ),
            "keeping and dropping are exchanged": right_quadratic * (1 - p) ** 2 / p**2,
            "is the variance of a sum the square of the sum?": (
                (without * p / (1 - p) * z**2).sum() / 2
            ),
        }
        if not np.isclose(quadratic, right_quadratic):
            hint = "is it half the sum of A''(z) times the variance of z?"
            raise Wrong(
                f"{when} the quadratic penalty is {quadratic:.4g}, expected "
                f"{right_quadratic:.4g}: " + recognize(quadratic, known, hint)
            )


@checker
def deleted(measure, train, *, seed=0):
    """``measure(net, split, k, rng)``: test accuracy without k of the hidden units.

    Both biases of the trained network are changed first, so that a unit whose weights
    alone are removed, or an output bias that is lost, shows.
    """
    rng = np.random.default_rng(seed)
    width, draws, ours = 16, 20, 300  # the task asks for 20 draws
    net, split = call(train, int(rng.integers(100)), 0.2, width)
    params = net.params
    params["0.bias"] += rng.uniform(0.3, 0.6, width)
    # What units would send that have lost their incoming weights alone leads to another
    # class than the output's bias does, and to one that is not as frequent.
    sent = params["3.weight"] @ np.maximum(params["0.bias"], 0)
    counts = np.bincount(split.y_test, minlength=10)
    others = counts != counts[sent.argmax()]
    params["3.bias"][:] = 0
    params["3.bias"][np.where(others, sent, np.inf).argmin()] = 1e-3
    before = {name: array.copy() for name, array in params.items()}

    def run(k, draw=0):
        when = f"without {k} of {width} units"
        net.train()
        value = call(
            measure, net, split, k, np.random.default_rng([seed, draw]), when=when
        )
        for name, array in before.items():
            if not np.array_equal(net.params[name], array):
                raise Wrong(
                    f"afterwards the network's {name} is another: is what was set to "
                    "0 put back?"
                )
        return number(value, when)

    net.eval()
    hidden = np.maximum(split.x_test @ before["0.weight"].T + before["0.bias"], 0)

    def accuracy(keep):
        logits = hidden * keep @ before["3.weight"].T + before["3.bias"]
        return float((logits.argmax(axis=1) == split.y_test).mean())

    none, every = run(0), accuracy(np.ones(width))
    net.eval()
    if abs(none - every) > 1e-9:
        parts = {
            "training": (split.x_train, split.y_train),
            "validation": (split.x_val, split.y_val),
        }
        for part, (x, y) in parts.items():
            if abs((net(x).argmax(axis=1) == y).mean() - none) < 1e-9:
                raise Wrong(f"is that the accuracy on the {part} part?")
        hint = "is it that of the whole test part, in evaluation mode?"
        if np.isclose(none, 100 * every):
            hint = "expected a share, not per cent"
        elif np.isclose(none, 1 - every):
            hint = "is that the error?"
        raise Wrong(
            f"without 0 units the accuracy is {none:.3f}, expected {every:.3f}: {hint}"
        )
    last, empty = run(width), accuracy(np.zeros(width))
    if abs(last - empty) > 1e-9:
        stubborn = np.maximum(before["0.bias"], 0)
        logits = stubborn @ before["3.weight"].T + before["3.bias"]
        hint = "then only the output layer's bias is left: what else is in the logits?"
        if np.isclose(last, (logits.argmax() == split.y_test).mean()):
            hint = "a unit without incoming weights still sends relu of its bias"
        elif np.isclose(last, every):
            hint = "does k change anything?"
        raise Wrong(
            f"without all {width} units the accuracy is {last:.3f}, expected "
            f"{empty:.3f}: {hint}"
        )
    k = width // 2
    values = [run(k, draw) for draw in range(1, 5)]
    if len(set(values)) == 1:
        raise Wrong(
            f"without {k} units all generators lead to the same accuracy: are the "
            "units drawn from `rng`, and anew in each of the 20 draws?"
        )
    if run(k, 1) != values[0]:
        raise Wrong(
            "generators in the same state lead to different results: is everything "
            "drawn from `rng`?"
        )
    keep = rng.random((ours, width)).argsort(axis=1) >= k
    samples = np.array([accuracy(row) for row in keep])
    margin = 7 * samples.std() * np.sqrt(1 / draws + 1 / ours)
    for value in values:
        if abs(value - samples.mean()) > margin:
            raise Wrong(
                f"without {k} of {width} units the accuracy is {value:.3f}, expected "
                f"{samples.mean():.3f} up to {margin:.3f}: is it the mean of 20 draws, "
                "and are exactly k units removed in each?"
            )
