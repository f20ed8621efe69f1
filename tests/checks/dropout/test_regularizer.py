"""Exercises on dropout as a regularizer: right answers pass, wrong ones are named."""

import numpy as np
import pytest
from answers import fails, passes, train
from scipy.optimize import minimize
from scipy.special import expit

from dropnorm import checks

# minimizer


def weights(matrix, scale=lambda q: 1.0):
    """The solution of matrix(G, diag G, q) w = scale(q) Xᵀ y."""

    def solve(X, y, q):
        G = X.T @ X
        D = np.diag(np.diag(G))
        return np.linalg.solve(matrix(G, D, q), scale(q) * X.T @ y)

    return solve


def by_inverse(X, y, q):
    G = X.T @ X
    off = G - np.diag(np.diag(G))
    return np.linalg.inv(q * off + np.diag(np.diag(G))) @ X.T @ y


def by_more_rows(X, y, q):
    """Ridge regression as least squares with a row for each weight."""
    rows = np.diag(np.sqrt(q * (1 - q) * (X**2).sum(axis=0)))
    A, b = np.vstack([q * X, rows]), np.concatenate([y, np.zeros(X.shape[1])])
    return np.linalg.lstsq(A, b, rcond=None)[0]


def by_descent(X, y, q):
    def loss(w):
        spread = q * (1 - q) * (X**2 @ w**2).sum()
        slope = -2 * q * X.T @ (y - q * X @ w)
        slope += 2 * q * (1 - q) * (X**2).sum(axis=0) * w
        return ((y - q * X @ w) ** 2).sum() + spread, slope

    return minimize(loss, np.zeros(X.shape[1]), jac=True, tol=1e-14).x


@pytest.mark.parametrize(
    "solve",
    [
        weights(lambda G, D, q: q * G + (1 - q) * D),
        weights(lambda G, D, q: q**2 * G + q * (1 - q) * D, scale=lambda q: q),
        by_inverse,
        by_more_rows,
    ],
)
def test_minimizer_accepts(solve):
    passes(checks.dropout.minimizer, solve)


def test_the_formula_minimizes_the_expected_loss():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)
    np.testing.assert_allclose(by_descent(X, y, 0.4), by_inverse(X, y, 0.4), atol=1e-6)


WRONG_WEIGHTS = {
    "least squares": (weights(lambda G, D, q: G), "without dropout"),
    "divided by q": (
        weights(lambda G, D, q: G, scale=lambda q: 1 / q),
        "divided by q: what does the noise add",
    ),
    "inverted": (
        weights(lambda G, D, q: G + (1 - q) / q * D),
        "the weights of the inverted form",
    ),
    "one q": (
        weights(lambda G, D, q: q**2 * G + q * (1 - q) * D),
        "on the right side too",
    ),
    "plain ridge": (
        weights(lambda G, D, q: q * G + (1 - q) * np.eye(len(G))),
        "every weight has the same penalty",
    ),
    "variance 1 - q": (
        weights(lambda G, D, q: q**2 * G + (1 - q) * D, scale=lambda q: q),
        "1 - q in place of q(1 - q)",
    ),
    "variance q": (
        weights(lambda G, D, q: q**2 * G + q * D, scale=lambda q: q),
        "has q in place of q(1 - q)",
    ),
    "exchanged": (
        weights(lambda G, D, q: (1 - q) * G + q * D + 1e-300),
        "keeping and dropping are exchanged",
    ),
    "diagonal": (weights(lambda G, D, q: D), "independent units alone"),
    "mean": (
        weights(lambda G, D, q: q * G + (1 - q) * D / 12),
        "divided by the number of examples",
    ),
    "nonsense": (lambda X, y, q: X[0] * q, "write the loss as bias² + variance"),
    "column": (lambda X, y, q: by_inverse(X, y, q)[:, None], "shape (4, 1)"),
    "NaN": (lambda X, y, q: X[0] * np.nan, "holds nan"),
    "in place": (lambda X, y, q: X.sort() or X[0], "changes its input X"),
    "singular": (
        lambda X, y, q: np.linalg.solve(0 * X.T @ X, X.T @ y),
        "LinAlgError",
    ),
}


@pytest.mark.parametrize("name", WRONG_WEIGHTS)
def test_minimizer_names_what_is_wrong(name):
    solve, words = WRONG_WEIGHTS[name]
    # With q = 1 nothing is dropped, and several formulas are those of another.
    fails(checks.dropout.minimizer, solve, words=f"{words}|q = 1.0")


# poisson


def both(exact=None, quadratic=None):
    def penalties(X, beta, p):
        t = X * beta
        z = t.sum(axis=1)
        factors = p + (1 - p) * np.exp(t / (1 - p))
        noise = p / (1 - p) * (X**2 @ beta**2)
        first = (factors.prod(axis=1) - np.exp(z)).sum()
        second = 0.5 * np.exp(z) @ noise
        return (
            exact(t, z, noise, p) if exact else first,
            quadratic(t, z, noise, p) if quadratic else second,
        )

    return penalties


def by_logarithms(X, beta, p):
    log = np.logaddexp(np.log(p), np.log1p(-p) + X * beta / (1 - p)).sum(axis=1)
    z = X @ beta
    quadratic = 0.0
    for row, value in zip(X, z, strict=True):
        quadratic += np.exp(value) * p / (2 * (1 - p)) * ((row * beta) ** 2).sum()
    return [np.exp(log).sum() - np.exp(z).sum(), quadratic]


def as_an_array(X, beta, p):
    return np.array(by_logarithms(X, beta, p))


@pytest.mark.parametrize("penalties", [both(), by_logarithms, as_an_array])
def test_poisson_accepts(penalties):
    passes(checks.dropout.poisson, penalties)


def product(t, p, scale=True):
    return (p + (1 - p) * np.exp(t / (1 - p) if scale else t)).prod(axis=1)


WRONG_PENALTIES = {
    "mean of A": (
        both(exact=lambda t, z, v, p: product(t, p).sum()),
        "what does the penalty compare it with",
    ),
    "averaged": (
        both(exact=lambda t, z, v, p: (product(t, p) - np.exp(z)).mean()),
        "expected the sum",
    ),
    "unscaled": (
        both(exact=lambda t, z, v, p: (product(t, p, False) - np.exp(z)).sum()),
        "are kept inputs scaled",
    ),
    "exchanged": (
        both(exact=lambda t, z, v, p: (product(t, 1 - p) - np.exp(z)).sum()),
        "keeping and dropping are exchanged",
    ),
    "zero for exp(0)": (
        both(
            exact=lambda t, z, v, p: (
                ((1 - p) * np.exp(t / (1 - p))).prod(axis=1) - np.exp(z)
            ).sum()
        ),
        "contributes exp(0)",
    ),
    "one coin": (
        both(
            exact=lambda t, z, v, p: (
                p + (1 - p) * np.exp(z / (1 - p)) - np.exp(z)
            ).sum()
        ),
        "is one mask shared",
    ),
    "normal": (
        both(exact=lambda t, z, v, p: (np.exp(z + v / 2) - np.exp(z)).sum()),
        "normal noise of the same variance",
    ),
    "sum": (
        both(
            exact=lambda t, z, v, p: (
                (p + (1 - p) * np.exp(t / (1 - p))).sum(axis=1) - np.exp(z)
            ).sum()
        ),
        "in place of their product",
    ),
    "sign": (
        both(exact=lambda t, z, v, p: (np.exp(z) - product(t, p)).sum()),
        "is its sign reversed",
    ),
    "second first": (
        lambda X, beta, p: both()(X, beta, p)[::-1],
        "the second is the exact one",
    ),
    "zero": (both(exact=lambda t, z, v, p: 0.0), "exp of a sum is a product"),
    "no half": (
        both(quadratic=lambda t, z, v, p: np.exp(z) @ v),
        "is the 1/2 of the second-order term missing",
    ),
    "linear": (both(quadratic=lambda t, z, v, p: v.sum()), "penalty of linear regress"),
    "half linear": (
        both(quadratic=lambda t, z, v, p: v.sum() / 2),
        "half the penalty of linear regression",
    ),
    "logistic": (
        both(quadratic=lambda t, z, v, p: (expit(z) * expit(-z)) @ v / 2),
        "of the logistic model",
    ),
    "exact twice": (
        both(quadratic=lambda t, z, v, p: (product(t, p) - np.exp(z)).sum()),
        "the exact penalty once more",
    ),
    "p": (
        both(quadratic=lambda t, z, v, p: np.exp(z) @ v / 2 * (1 - p)),
        "is p the variance of a factor",
    ),
    "p(1 - p)": (
        both(quadratic=lambda t, z, v, p: np.exp(z) @ v / 2 * (1 - p) ** 2),
        "that takes p(1 - p) for the variance",
    ),
    "keep over drop": (
        both(quadratic=lambda t, z, v, p: np.exp(z) @ v / 2 * ((1 - p) / p) ** 2),
        "quadratic penalty is",
    ),
    "square of the sum": (
        both(quadratic=lambda t, z, v, p: np.exp(z) @ z**2 / 2 * p / (1 - p)),
        "the square of the sum",
    ),
    "mean of quadratic": (
        both(quadratic=lambda t, z, v, p: np.mean(np.exp(z) * v) / 2),
        "that is the mean over the examples",
    ),
    "quadratic zero": (
        both(quadratic=lambda t, z, v, p: 0.0),
        "A''(z) times the variance",
    ),
    "one": (lambda X, beta, p: 1.0, "exact, quadratic, got one"),
    "by example": (both(exact=lambda t, z, v, p: z), "expected a number"),
    "raises": (lambda X, beta, p: X @ X, "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_PENALTIES)
def test_poisson_names_what_is_wrong(name):
    penalties, words = WRONG_PENALTIES[name]
    fails(checks.dropout.poisson, penalties, words=words)


# deleted


def measure(
    *,
    draws=20,
    part="test",
    mode="eval",
    choose=lambda n, k, rng: rng.permutation(n)[:k],
    where="3.weight",
    restore=True,
    score=np.mean,
):
    def deleted(net, split, k, rng):
        getattr(net, mode)()
        weight = net.params[where]
        trained, results = weight.copy(), []
        x, y = getattr(split, f"x_{part}"), getattr(split, f"y_{part}")
        for _ in range(draws):
            gone = choose(weight.shape[0 if where[0] == "0" else 1], k, rng)
            if where == "0.weight":
                weight[gone] = 0
            else:
                weight[:, gone] = 0
            results.append((net(x).argmax(axis=1) == y).mean())
            if restore:
                weight[...] = trained
        return score(results)

    return deleted


def by_hand(net, split, k, rng):
    """Its own forward pass, with a mask on the hidden units."""
    w1, b1, w2, b2 = (net.params[f"{i}.{s}"] for i in "03" for s in ("weight", "bias"))
    h = np.maximum(split.x_test @ w1.T + b1, 0)
    hits = []
    for _ in range(20):
        keep = rng.random(len(b1)).argsort() >= k
        hits += list(((h * keep) @ w2.T + b2).argmax(axis=1) == split.y_test)
    return np.mean(hits)


def both_sides(net, split, k, rng):
    """Zeros in incoming weights, bias and all: the unit sends relu(0) = 0."""
    net.eval()
    w1, b1 = net.params["0.weight"], net.params["0.bias"]
    saved, results = (w1.copy(), b1.copy()), []
    for _ in range(20):
        gone = rng.choice(len(b1), size=k, replace=False)
        w1[gone], b1[gone] = 0, 0
        results.append((net(split.x_test).argmax(axis=1) == split.y_test).mean())
        w1[...], b1[...] = saved
    return float(np.mean(results))


@pytest.mark.parametrize("answer", [measure(), by_hand, both_sides])
def test_deleted_accepts(answer):
    passes(checks.dropout.deleted, answer, train)


WRONG_MEASURES = {
    "not restored": (measure(restore=False), "is what was set to 0 put back"),
    "training mode": (measure(mode="train"), "in evaluation mode"),
    "training part": (measure(part="train"), "on the training part"),
    "validation part": (measure(part="val"), "on the validation part"),
    "incoming weights": (measure(where="0.weight"), "still sends relu of its bias"),
    "nothing": (measure(choose=lambda n, k, rng: []), "does k change anything"),
    "always the first": (
        measure(choose=lambda n, k, rng: np.arange(k)),
        "are the units drawn from `rng`",
    ),
    "seeded inside": (
        measure(choose=lambda n, k, rng: np.random.default_rng(0).permutation(n)[:k]),
        "are the units drawn from `rng`",
    ),
    "the global generator": (
        measure(choose=lambda n, k, rng: np.random.permutation(n)[:k]),
        "generators in the same state lead to different results",
    ),
    "too few": (
        measure(choose=lambda n, k, rng: rng.permutation(n)[: k if k == n else k // 4]),
        "are exactly k units removed in each",
    ),
    "per cent": (measure(score=lambda r: 100 * np.mean(r)), "not per cent"),
    "error": (measure(score=lambda r: 1 - np.mean(r)), "is that the error"),
    "list": (measure(score=list), "expected a number"),
    "raises": (lambda net, split, k, rng: split.x_tset, "AttributeError"),
}


@pytest.mark.parametrize("name", WRONG_MEASURES)
def test_deleted_names_what_is_wrong(name):
    answer, words = WRONG_MEASURES[name]
    fails(checks.dropout.deleted, answer, train, words=words, seeds=range(4))
