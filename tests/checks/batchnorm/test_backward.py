"""Exercises on the way back: right answers pass, wrong ones are named."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes

from dropnorm import checks
from dropnorm.checks.batchnorm.backward import FAULTS

B = checks.batchnorm

# gradient_by_hand

DX = {
    "one": [0.25, -0.25, 0, 0],
    "all": [0, 0, 0, 0],
    "along": [0, 0, 0, 0],
    "pair": [0.5, -0.5, 0, 0],
}


def test_gradient_by_hand_accepts():
    passes(B.gradient_by_hand, DX)
    passes(B.gradient_by_hand, {key: np.array(v, float) for key, v in DX.items()})
    passes(B.gradient_by_hand, {key: tuple(v) for key, v in DX.items()})
    assert B.gradient_by_hand(dict.fromkeys(DX)).status == "not attempted"


def test_the_gradients_are_autograds():
    x = torch.tensor([7.0, 7, -1, -1], dtype=torch.float64, requires_grad=True)
    y = 2 * (x - x.mean()) / x.std(correction=0)
    for key, dy in {"one": [1, 0, 0, 0], "pair": [1, -1, 0, 0]}.items():
        (dx,) = torch.autograd.grad(
            y, x, torch.tensor(dy, dtype=torch.float64), retain_graph=True
        )
        np.testing.assert_allclose(dx, DX[key], atol=1e-12)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("one", [0.5, 0, 0, 0], "taken for constants"),
        ("one", [0.375, -0.125, -0.125, -0.125], "flow through the variance"),
        ("one", [0.375, -0.125, 0.125, 0.125], "flow through the mean"),
        ("one", [0.125, -0.125, 0, 0], "is γ missing"),
        ("one", [1, -1, 0, 0], "is it divided by σ"),
        ("one", [0.0625, -0.0625, 0, 0], "not by σ²"),
        ("one", [-0.5, -1, 0, 0], "sums divided by m"),
        ("one", [-0.25, 0.25, 0, 0], "are the signs right"),
        ("one", [9, 9, 9, 9], "subtract from dy its mean"),
        ("all", [0.5, 0.5, 0.5, 0.5], "taken for constants"),
        ("along", [0.5, 0.5, -0.5, -0.5], "taken for constants"),
        ("pair", None, "no prediction yet"),
        ("pair", [1, 2], "shape (2,)"),
        ("pair", 0, "shape ()"),
        ("pair", "none", "expected four numbers"),
        ("pair", [0, 0, 0, np.nan], "holds nan"),
    ],
)
def test_gradient_by_hand_names_what_is_wrong(key, value, words):
    fails(B.gradient_by_hand, DX | {key: value}, words=words, seeds=[0])


def test_gradient_by_hand_wants_a_dictionary():
    fails(B.gradient_by_hand, [1, 2], words="expected a dict with", seeds=[0])


# closed


def parts(x, gamma, eps):
    root = np.sqrt(x.var(axis=0) + eps)
    return (x - x.mean(axis=0)) / root, gamma / root, root


def formula(dy, x, gamma, eps):
    hat, gain, _ = parts(x, gamma, eps)
    dx = gain * (dy - dy.mean(axis=0) - hat * (dy * hat).mean(axis=0))
    return dx, (dy * hat).sum(axis=0), dy.sum(axis=0)


def by_stages(dy, x, gamma, eps):
    m = len(x)
    centered = x - x.mean(axis=0)
    inv = 1 / np.sqrt((centered**2).mean(axis=0) + eps)
    dhat = dy * gamma
    dinv = (dhat * centered).sum(axis=0)
    dvar = -0.5 * inv**3 * dinv
    dcentered = dhat * inv + 2 / m * centered * dvar
    dx = dcentered - dcentered.sum(axis=0) / m
    return dx, (dy * centered * inv).sum(axis=0), dy.sum(axis=0)


def by_matrix(dy, x, gamma, eps):
    """dx = J dy with each feature's Jacobian."""
    hat, gain, _ = parts(x, gamma, eps)
    m = len(x)
    dx = np.empty_like(x)
    for c in range(x.shape[1]):
        outer = np.outer(hat[:, c], hat[:, c])
        jacobian = gain[c] * (np.eye(m) - 1 / m - outer / m)
        dx[:, c] = jacobian @ dy[:, c]
    return [dx, np.einsum("nc,nc->c", dy, hat), np.ones(m) @ dy]


def by_autograd(dy, x, gamma, eps):
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, gamma, 0 * gamma)]
    y = F.batch_norm(leaves[0], None, None, *leaves[1:], True, eps=eps)
    return tuple(g.numpy() for g in torch.autograd.grad(y, leaves, torch.tensor(dy)))


@pytest.mark.parametrize("answer", [formula, by_stages, by_matrix, by_autograd])
def test_closed_accepts(answer):
    passes(B.closed, answer)


def broken(dx=None, dgamma=None, dbeta=None):
    def answer(dy, x, gamma, eps):
        hat, gain, root = parts(x, gamma, eps)
        a, b, c = formula(dy, x, gamma, eps)
        at = {"dy": dy, "x": x, "hat": hat, "gain": gain, "root": root, "g": gamma}
        at |= {"m": len(x), "dx": a, "dgamma": b, "dbeta": c, "eps": eps}
        at |= {"mean": c / len(x), "slope": b / len(x), "var": x.var(axis=0)}
        at |= {"centered": x - x.mean(axis=0)}
        at = type("At", (), at)
        return (
            dx(at) if dx else a,
            dgamma(at) if dgamma else b,
            dbeta(at) if dbeta else c,
        )

    return answer


WRONG_CLOSED = {
    "dbeta mean": (broken(dbeta=lambda a: a.mean), "mean of dy, where the sum"),
    "dbeta dgamma": (broken(dbeta=lambda a: a.dgamma), "That is dγ"),
    "dbeta gamma": (broken(dbeta=lambda a: a.g * a.dbeta), "is γ in it"),
    "dbeta": (broken(dbeta=lambda a: a.dbeta + 1), "β is added to every"),
    "dgamma x": (
        broken(dgamma=lambda a: (a.dy * a.x).sum(axis=0)),
        "x̂ that multiplies dy, or x?",
    ),
    "dgamma centered": (
        broken(dgamma=lambda a: (a.dy * a.centered).sum(axis=0)),
        "x̂ that multiplies dy, or x - μ",
    ),
    "dgamma eps": (
        broken(dgamma=lambda a: (a.dy * a.centered).sum(axis=0) / a.var**0.5),
        "is ε in x̂",
    ),
    "dgamma mean": (broken(dgamma=lambda a: a.slope), "the mean, where the sum is due"),
    "dgamma dbeta": (broken(dgamma=lambda a: a.dbeta), "of dy alone"),
    "dgamma gamma": (broken(dgamma=lambda a: a.g * a.dgamma), "is γ in it"),
    "dgamma": (broken(dgamma=lambda a: a.dgamma - 1), "γ multiplies x̂"),
    "detached": (broken(lambda a: a.gain * a.dy), "taken for constants"),
    "no variance": (
        broken(lambda a: a.gain * (a.dy - a.mean)),
        "through the variance is missing",
    ),
    "no mean": (
        broken(lambda a: a.gain * (a.dy - a.hat * a.slope)),
        "through the mean is missing",
    ),
    "no gamma": (broken(lambda a: a.dx / a.g), "is γ missing"),
    "no root": (broken(lambda a: a.dx * a.root), "division by √(σ² + ε) missing"),
    "variance": (broken(lambda a: a.dx / a.root), "in place of its root"),
    "sums": (
        broken(lambda a: a.gain * (a.dy - a.dbeta - a.hat * a.dgamma)),
        "two sums divided by m",
    ),
    "too small": (broken(lambda a: a.dx / a.m), "once too often"),
    "too large": (broken(lambda a: a.dx * a.m), "divided by m at all"),
    "Bessel": (
        broken(lambda a: a.gain * (a.dy - (a.dbeta + a.hat * a.dgamma) / (a.m - 1))),
        "divided by m - 1",
    ),
    "sign of the mean": (
        broken(lambda a: a.gain * (a.dy + a.mean - a.hat * a.slope)),
        "term of the mean the right sign",
    ),
    "sign of the variance": (
        broken(lambda a: a.gain * (a.dy - a.mean + a.hat * a.slope)),
        "term of the variance the right sign",
    ),
    "centered": (
        broken(lambda a: a.gain * (a.dy - a.mean - a.centered * a.slope)),
        "only centered",
    ),
    "no eps": (
        broken(
            dx=lambda a: (
                a.g
                / a.var**0.5
                * (
                    a.dy
                    - a.mean
                    - a.centered / a.var * (a.dy * a.centered).mean(axis=0)
                )
            )
        ),
        "is ε in all roots",
    ),
    "no x_hat": (
        broken(lambda a: a.gain * (a.dy - a.mean - a.slope)),
        "lack its x̂",
    ),
    "zeros": (broken(lambda a: 0 * a.dx), "three ways lead"),
    "order": (lambda *a: formula(*a)[::-1], "dx: the result has shape"),
    "one": (lambda *a: formula(*a)[0], "expected 3 things"),
    "NaN": (broken(lambda a: a.dx * np.nan), "holds nan"),
    "none": (broken(dbeta=lambda a: None), "dbeta: the result is a NoneType"),
    "in place": (
        lambda dy, x, g, e: formula(dy, np.subtract(x, x.mean(0), out=x), g, e),
        "changes its input x",
    ),
    "raises": (lambda dy, x, g, e: dy @ x, "ValueError"),
}


@pytest.mark.parametrize("name", WRONG_CLOSED)
def test_closed_names_what_is_wrong(name):
    answer, words = WRONG_CLOSED[name]
    fails(B.closed, answer, words=words)


# evaluation


def eval_formula(dy, x, mean, var, gamma, eps):
    inv = (var + eps) ** -0.5
    return dy * gamma * inv, (dy * (x - mean) * inv).sum(axis=0), dy.sum(axis=0)


def eval_autograd(dy, x, mean, var, gamma, eps):
    x, gamma, beta = (
        torch.tensor(a, requires_grad=True) for a in (x, gamma, 0 * gamma)
    )
    stats = torch.tensor(mean), torch.tensor(var)
    y = F.batch_norm(x, *stats, gamma, beta, False, eps=eps)
    grads = torch.autograd.grad(y, (x, gamma, beta), torch.tensor(dy))
    return [g.numpy() for g in grads]


@pytest.mark.parametrize("answer", [eval_formula, eval_autograd])
def test_evaluation_accepts(answer):
    passes(B.evaluation, answer)


def replace(which, change):
    def answer(dy, x, mean, var, gamma, eps):
        result = list(eval_formula(dy, x, mean, var, gamma, eps))
        result[which] = change(result[which], dy, x, mean, var, gamma, eps)
        return tuple(result)

    return answer


def training(dx, dy, x, mean, var, gamma, eps):
    return formula(dy, x, gamma, eps)[0]


def training_with_running(dx, dy, x, mean, var, gamma, eps):
    root = np.sqrt(var + eps)
    hat = (x - mean) / root
    return gamma / root * (dy - dy.mean(axis=0) - hat * (dy * hat).mean(axis=0))


WRONG_EVALUATIONS = {
    "training formula": (replace(0, training), "with the batch's statistics"),
    "half": (replace(0, training_with_running), "is that the formula of training"),
    "mean": (
        replace(0, lambda dx, *a: dx - dx.mean(axis=0)),
        "does the running mean depend",
    ),
    "batch's deviation": (
        replace(
            0,
            lambda dx, dy, x, m, v, g, e: g * dy / np.sqrt(x.var(axis=0) + e),
        ),
        "by the batch's deviation",
    ),
    "no gamma": (replace(0, lambda dx, *a: dx / a[4]), "is γ missing"),
    "no eps": (
        replace(0, lambda dx, dy, x, m, v, g, e: g * dy / np.sqrt(v)),
        "is ε missing",
    ),
    "variance": (
        replace(0, lambda dx, dy, x, m, v, g, e: g * dy / (v + e)),
        "in place of its root",
    ),
    "nothing": (replace(0, lambda dx, *a: 0 * dx), "y = a x + b"),
    "batch's x_hat": (
        replace(1, lambda dg, dy, x, m, v, g, e: formula(dy, x, g, e)[1]),
        "x̂ of the batch's statistics",
    ),
    "dgamma mean": (replace(1, lambda dg, dy, *a: dg / len(dy)), "where the sum"),
    "dgamma x": (replace(1, lambda dg, dy, x, *a: (dy * x).sum(axis=0)), "is it x, or"),
    "dgamma zero": (replace(1, lambda dg, *a: 0 * dg), "is γ a constant"),
    "dgamma": (replace(1, lambda dg, *a: dg + 1), "γ multiplies x̂"),
    "dbeta mean": (replace(2, lambda db, dy, *a: db / len(dy)), "where the sum is due"),
    "dbeta gamma": (replace(2, lambda db, *a: db * a[4]), "a γ too many"),
    "dbeta": (replace(2, lambda db, *a: db + 1), "β is added"),
    "NaN": (replace(0, lambda dx, *a: dx * np.nan), "holds nan"),
    "shape": (replace(1, lambda dg, *a: dg.sum()), "dgamma: the result is"),
    "raises": (lambda *a: a[9], "IndexError"),
    "text": (lambda *a: "dx", "expected 3 things"),
}


@pytest.mark.parametrize("name", WRONG_EVALUATIONS)
def test_evaluation_names_what_is_wrong(name):
    answer, words = WRONG_EVALUATIONS[name]
    fails(B.evaluation, answer, words=words)


# along


@pytest.mark.parametrize(
    "answer",
    [
        lambda s, g, v, e: g * s * e / (v + e) ** 1.5,
        lambda s, g, v, e: g / np.sqrt(v + e) * s * (1 - v / (v + e)),
    ],
)
def test_along_accepts(answer):
    passes(B.along, answer)


WRONG_ALONG = {
    "zero": (lambda s, g, v, e: 0.0, "for ε = 0"),
    "detached": (lambda s, g, v, e: g / np.sqrt(v + e) * s, "taken for constants"),
    "no gamma": (lambda s, g, v, e: s * e / (v + e) ** 1.5, "is γ missing"),
    "no root": (lambda s, g, v, e: g * s * e / (v + e), "factor 1/√(σ² + ε) missing"),
    "the rest": (lambda s, g, v, e: g * s * v / (v + e) ** 1.5, "or the rest"),
    "ratio": (lambda s, g, v, e: g / np.sqrt(v + e) * s * e / v, "is it ε/σ²"),
    "sign": (lambda s, g, v, e: -g * s * e / (v + e) ** 1.5, "is the sign right"),
    "other": (lambda s, g, v, e: 7.0, "multiply the closed form"),
    "text": (lambda s, g, v, e: "0", "expected a number"),
    "raises": (lambda s, g, v, e: s[0], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_ALONG)
def test_along_names_what_is_wrong(name):
    answer, words = WRONG_ALONG[name]
    fails(B.along, answer, words=words)


# graph


def step_with(
    mean=lambda m: m,
    var=lambda v: v,
    store=lambda s: s.detach(),
    momentum=lambda a: a,
    normalizer=0,
    stored=1,
    weight=lambda w: w,
):
    def step(x, w, bias, running, alpha, eps):
        mu = mean(x.mean(0))
        sigma2 = var(x.var(0, correction=normalizer))
        news = {"mean": x.mean(0), "var": x.var(0, correction=stored)}
        a = momentum(alpha)
        for name, new in news.items():
            running[name] = (1 - a) * running[name] + a * store(new)
        return weight(w) * (x - mu) / torch.sqrt(sigma2 + eps) + bias

    return step


def functional(x, weight, bias, running, momentum, eps):
    return F.batch_norm(
        x, running["mean"], running["var"], weight, bias, True, momentum, eps
    )


def in_place(x, weight, bias, running, momentum, eps):
    mean, var = x.mean(0), x.var(0, unbiased=False)
    running["mean"].lerp_(mean.detach(), momentum)
    running["var"].lerp_(var.detach() * len(x) / (len(x) - 1), momentum)
    return (x - mean) * (var + eps).rsqrt() * weight + bias


@pytest.mark.parametrize("answer", [step_with(), functional, in_place])
def test_graph_accepts(answer):
    passes(B.graph, answer)


def drops(name):
    def step(x, weight, bias, running, momentum, eps):
        y = functional(x, weight, bias, running, momentum, eps)
        running[name] = None
        return y

    return step


WRONG_STEPS = {
    "the listing": (
        step_with(mean=torch.detach, var=torch.detach),
        "mean and variance are cut out",
    ),
    "mean": (step_with(mean=torch.detach), "the mean is cut out"),
    "variance": (step_with(var=torch.detach), "the variance is cut out"),
    "history": (step_with(store=lambda s: s), "keeps the graph of every batch"),
    "reversed": (step_with(momentum=lambda a: 1 - a), "with weight `momentum`"),
    "biased": (step_with(stored=0), "the variance of m - 1"),
    "Bessel": (step_with(normalizer=1), "y is not that of F.batch_norm"),
    "no weight": (step_with(weight=lambda w: 1), "what changed"),
    "weight cut off": (
        step_with(weight=torch.detach),
        "no gradient reaches weight",
    ),
    "everything cut off": (
        lambda *a: functional(*a).detach(),
        "autograd says",
    ),
    "wrong slope": (
        lambda x, *a: functional(x - 0.5 * (x - x.detach()), *a),
        "does autograd not see",
    ),
    "numpy": (lambda x, *a: x.detach().numpy(), "expected y, a tensor"),
    "shape": (lambda *a: functional(*a).T, "expected y, a tensor"),
    "drops": (drops("mean"), "running['mean'] is None"),
    "raises": (lambda x, *a: x @ x, "RuntimeError"),
}


@pytest.mark.parametrize("name", WRONG_STEPS)
def test_graph_names_what_is_wrong(name):
    answer, words = WRONG_STEPS[name]
    fails(B.graph, answer, words=words)


# gradient_test


def numeric(loss, array, step=1e-5):
    gradient = np.zeros_like(array)
    for i in np.ndindex(*array.shape):
        before = array[i]
        array[i] = before + step
        up = loss()
        array[i] = before - step
        gradient[i] = (up - loss()) / (2 * step)
        array[i] = before
    return gradient


def check_with(
    dy=lambda rng, y: rng.standard_normal(y.shape),
    gamma=lambda rng: rng.uniform(1, 3, 3),
    compare=("dx", "dgamma", "dbeta"),
    close=lambda a, b: np.allclose(a, b, atol=1e-6),
    step=1e-5,
):
    def is_right(forward, backward, rng):
        x = rng.standard_normal((7, 3))
        arrays = [x, gamma(rng), rng.standard_normal(3)]
        y, cache = forward(*arrays)
        weights = dy(rng, y)
        gradients = backward(weights, cache)

        def loss():
            return (forward(*arrays)[0] * weights).sum()

        for name, array, g in zip(
            ("dx", "dgamma", "dbeta"), arrays, gradients, strict=True
        ):
            if name in compare and not close(g, numeric(loss, array, step)):
                return False
        return True

    return is_right


def against_autograd(forward, backward, rng):
    x, dy = rng.standard_normal((2, 6, 4))
    gamma, beta = rng.uniform(2, 3, (2, 4))
    _, cache = forward(x, gamma, beta)
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, gamma, beta)]
    y = F.batch_norm(leaves[0], None, None, *leaves[1:], True)
    right = torch.autograd.grad(y, leaves, torch.tensor(dy))
    got = backward(dy, cache)
    return all(np.allclose(a, b) for a, b in zip(got, right, strict=True))


@pytest.mark.parametrize(
    "answer",
    [
        check_with(),
        check_with(step=1e-4),
        check_with(close=lambda a, b: np.abs(a - b).max() < 1e-6),
        lambda *a: np.bool_(check_with()(*a)),
        against_autograd,
    ],
)
def test_gradient_test_accepts(answer):
    passes(B.gradient_test, answer, seeds=range(3))


WRONG_TESTS = {
    "sum": (check_with(dy=lambda rng, y: np.ones_like(y)), "always returns dx = 0"),
    "square": (
        check_with(dy=lambda rng, y: y - y.mean(axis=0)),
        "is the mean of your dy 0",
    ),
    "gamma 1": (check_with(gamma=lambda rng: np.ones(3)), "forgets γ in dx"),
    "dx alone": (check_with(compare=["dx"]), "returns dbeta for dgamma"),
    "dx and dgamma": (check_with(compare=["dx", "dgamma"]), "averages dbeta"),
    "loose": (
        check_with(close=lambda a, b: np.allclose(a, b, atol=10)),
        "always returns dx = 0",
    ),
    "too strict": (check_with(close=np.array_equal), "rejects a right backward pass"),
    "large steps": (check_with(step=0.5), "rejects a right backward pass"),
    "first feature": (
        check_with(close=lambda a, b: np.allclose(a[..., 0], b[..., 0], atol=1e-6)),
        "is right for the first feature alone",
    ),
    "always": (lambda *a: True, "always returns dx = 0"),
    "never": (lambda *a: False, "rejects a right backward pass"),
    "a number": (lambda *a: 1e-9, "expected True or False"),
    "raises": (lambda f, b, rng: b(rng), "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_TESTS)
def test_gradient_test_names_what_is_wrong(name):
    answer, words = WRONG_TESTS[name]
    fails(B.gradient_test, answer, words=words, seeds=range(3))


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_has_its_question(fault):
    """A test that overlooks just this fault is told how to see it."""

    def overlooks(forward, backward, rng):
        return backward is FAULTS[fault] or check_with()(forward, backward, rng)

    result = B.gradient_test(overlooks)
    assert result.status == "failed" and fault in result.message
    assert result.message.endswith("?")
