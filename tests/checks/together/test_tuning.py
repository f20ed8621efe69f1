"""Exercises on tuning: right answers pass, wrong ones are named."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import fails, passes
from scipy import stats
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.optim import lr_scheduler

from dropnorm import checks

T = checks.together

# nested


def nesting(
    scale="fold",
    choose="inner",
    refit=True,
    report="outer",
    best=np.argmax,
    shuffle=False,
    ddof=0,
    first=0,
):
    def answer(x, y, values, build, outer, inner):
        def moments(rows):
            return x[rows].mean(axis=0), x[rows].std(axis=0, ddof=ddof)

        def run(value, fit, judge, part):
            base = {"fold": fit, "all": np.arange(len(x)), "part": part}.get(scale)
            mean, std = (0, 1) if scale == "none" else moments(fit)
            if scale in ("all", "part"):
                mean, std = moments(base)
            model = build(value).fit((x[fit] - mean) / std, y[fit])
            if scale == "own":
                mean, std = moments(judge)
            return model.score((x[judge] - mean) / std, y[judge])

        results = []
        folds = KFold(outer, shuffle=shuffle, random_state=0 if shuffle else None)
        for part, test in folds.split(x):
            if choose == "inner":
                splits = list(KFold(inner).split(part))
                means = [
                    np.mean([run(v, part[a], part[b], part) for a, b in splits])
                    for v in values
                ]
            else:
                means = [run(v, part, test, part) for v in values]
            value = values[best(means)]
            final = run(value, part, test, part)
            if not refit:
                final = run(value, part[splits[0][0]], test, part)
            results.append((value, final if report == "outer" else max(means)))
        return results[first:]

    return answer


def by_cross_val_score(x, y, values, build, outer, inner):
    results = []
    for train, test in KFold(outer).split(x):
        scores = {
            value: cross_val_score(
                make_pipeline(StandardScaler(), build(value)),
                x[train],
                y[train],
                cv=KFold(inner),
            ).mean()
            for value in values
        }
        value = max(scores, key=scores.get)
        model = make_pipeline(StandardScaler(), build(value)).fit(x[train], y[train])
        results.append([value, model.score(x[test], y[test])])
    return results


def by_grid_search(x, y, values, build, outer, inner):
    results = []
    for train, test in KFold(outer).split(x):
        pipe = Pipeline([("scale", StandardScaler()), ("net", build(values[0]))])
        search = GridSearchCV(pipe, {"net__value": values}, cv=KFold(inner))
        search.fit(x[train], y[train])
        score = search.score(x[test], y[test])
        results.append((search.best_params_["net__value"], score))
    return tuple(results)


def by_generator(*arguments):
    yield from nesting()(*arguments)


@pytest.mark.parametrize(
    "answer",
    [nesting(), nesting(ddof=1), by_cross_val_score, by_grid_search, by_generator],
)
def test_nested_accepts(answer):
    passes(T.nested, answer)


WRONG_NESTS = {
    "the listing": (nesting(scale="all", choose="outer"), "scale within each fold"),
    "all rows": (nesting(scale="all"), "scale within each fold"),
    "inner leak": (nesting(scale="part"), "of a whole outer training part"),
    "own": (nesting(scale="own"), "by their own mean and deviation"),
    "raw": (nesting(scale="none"), "nothing is standardized"),
    "by the outer fold": (nesting(choose="outer"), "by the very fold that is to judge"),
    "lowest": (nesting(best=np.argmin), "is the lowest score chosen"),
    "inner score": (nesting(report="inner"), "who judges it afterwards"),
    "not refit": (nesting(refit=False), "fitted once more"),
    "shuffled": (nesting(shuffle=True), "KFold's, in order"),
    "one pair": (nesting(first=1), "expected one for each outer fold"),
    "numbers": (lambda *a: [0.3] * a[4], "expected 2 things"),
    "other labels": (
        lambda x, y, v, build, o, i: build(v[0]).fit(x, y + 0.5),
        "labels that are not in y",
    ),
    "no fit": (lambda x, y, v, build, o, i: build(v[0]).score(x, y), "rows_"),
    "rows": (lambda x, y, v, build, o, i: build(v[0]).fit(x[0], y), "of shape"),
    "raises later": (
        lambda x, y, v, build, o, i: (v[fold + 9] for fold in range(o)),
        "IndexError",
    ),
    "no list": (lambda *a: 0.3, "expected a list of pairs"),
    "none": (lambda *a: print(), "return` missing"),
    "raises": (lambda x, y, v, build, o, i: build(x).fit(x), "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_NESTS)
def test_nested_names_what_is_wrong(name):
    answer, words = WRONG_NESTS[name]
    fails(T.nested, answer, words=words, seeds=range(3))


# tune


def tuning(by="val", report="test", best=None, look=False, match=True):
    def answer(train, split, rates):
        models = {p: train(p, split.x_train, split.y_train) for p in rates}

        def error(p, part):
            y = part if match else "train"
            return models[p].error(
                getattr(split, f"x_{part}"), getattr(split, f"y_{y}")
            )

        errors = {p: error(p, by) for p in rates}
        p = (best or (lambda e: min(e, key=e.get)))(errors)
        tests = {q: error(q, "test") for q in rates} if look else {}
        if report == "lowest":
            return p, min(tests.values())
        return p, tests[p] if look else error(p, report)

    return answer


def two_passes(train, split, rates):
    """Trains the chosen one again."""
    errors = [
        train(p, split.x_train, split.y_train).error(split.x_val, split.y_val)
        for p in rates
    ]
    p = rates[int(np.argmin(errors))]
    model = train(p, split.x_train, split.y_train)
    return np.array([p, model.error(split.x_test, split.y_test)])


@pytest.mark.parametrize("answer", [tuning(), two_passes])
def test_tune_accepts(answer):
    passes(T.tune, answer)


def on_both(train, split, rates):
    model = train(rates[0], split.x_val, split.y_val)
    return rates[0], model.error(split.x_test, split.y_test)


WRONG_TUNES = {
    "the listing": (tuning(by="test", best=min), "min() of a dict"),
    "by test": (tuning(by="test"), "the lowest error on the test part"),
    "by training": (tuning(by="train"), "the lowest error on the training part"),
    "key": (tuning(best=min), "min() of a dict"),
    "highest": (tuning(best=lambda e: max(e, key=e.get)), "the highest error"),
    "validation error": (tuning(report="val"), "the validation error by which"),
    "training error": (tuning(report="train"), "on the test part"),
    "lowest": (tuning(report="lowest", look=True), "the lowest test error of all"),
    "all test errors": (tuning(look=True), "looked at more than once"),
    "labels": (tuning(match=False), "and other labels"),
    "on validation": (on_both, "on another part than the training part"),
    "other": (lambda t, s, r: (99.0, 0.1), "on the validation part decides"),
    "rate alone": (lambda t, s, r: r[0], "expected rate and test error"),
    "raises": (lambda t, s, r: t(r), "TypeError"),
    "another rate": (lambda t, s, r: t(0.9, s.x_train, s.y_train), "is not a rate"),
    "a slice": (
        lambda t, s, r: t(r[0], s.x_train, s.y_train).error(0, 0),
        "the x and y of one part",
    ),
}


@pytest.mark.parametrize("name", WRONG_TUNES)
def test_tune_names_what_is_wrong(name):
    answer, words = WRONG_TUNES[name]
    fails(T.tune, answer, words=words)


# optimism


def largest(k, n=200_001):
    """The mean of the largest of k standard normal numbers, by its quantiles."""
    u = (np.arange(n) + 0.5) / n
    return stats.norm.ppf(u ** (1 / k)).mean()


def optimism(k, n, error, rho, share=lambda rho: np.sqrt(1 - rho), top=largest):
    return np.sqrt(error * (1 - error) / n) * share(rho) * top(k)


def by_simulation(k, n, error, rho):
    rng = np.random.default_rng(0)
    common, own = rng.standard_normal((60_000, 1)), rng.standard_normal((60_000, k))
    arms = np.sqrt(rho) * common + np.sqrt(1 - rho) * own
    arms = arms - (common if k > 1 else arms)  # less noise, the same mean
    best = arms.min(axis=1).mean()
    return -np.sqrt(error * (1 - error) / n) * best


def by_known_values(k, n, error, rho):
    top = {1: 0.0, 2: 1 / math.sqrt(math.pi), 5: 1.16296, 20: 1.86748}[k]
    return math.sqrt(error * (1 - error) * (1 - rho) / n) * top


@pytest.mark.parametrize("answer", [optimism, by_simulation, by_known_values])
def test_optimism_accepts(answer):
    passes(T.optimism, answer)


def otherwise(**changes):
    return lambda *a: optimism(*a, **changes)


WRONG_OPTIMISMS = {
    "no rho": (otherwise(share=lambda rho: 1), "what they have in common"),
    "1 - rho": (otherwise(share=lambda rho: 1 - rho), "is the root taken"),
    "rho": (otherwise(share=np.sqrt), "ρ or 1 - ρ"),
    "limit": (
        otherwise(top=lambda k: np.sqrt(2 * np.log(k))),
        "the limit for large k",
    ),
    "Blom": (
        otherwise(top=lambda k: stats.norm.ppf((k - 0.375) / (k + 0.25))),
        "Blom's approximation",
    ),
    "quantile": (
        otherwise(top=lambda k: stats.norm.ppf(k / (k + 1))),
        "is not the mean of the largest",
    ),
    "sign": (lambda *a: -optimism(*a), "as a positive number"),
    "best error": (lambda k, n, e, r: e - optimism(k, n, e, r), "best arm's error"),
    "variance": (
        lambda k, n, e, r: e * (1 - e) / n * np.sqrt(1 - r) * largest(k),
        "is a variance",
    ),
    "no n": (lambda k, n, e, r: optimism(k, 1, e, r), "divided by √n"),
    "whatever k": (otherwise(top=lambda k: 1), "whatever k"),
    "per cent": (lambda *a: 100 * optimism(*a), "in per cent"),
    "other": (lambda *a: 3.0, "an arm's own part"),
    "NaN": (lambda *a: float("nan"), "finite"),
    "raises": (lambda k, n, e: 0, "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_OPTIMISMS)
def test_optimism_names_what_is_wrong(name):
    answer, words = WRONG_OPTIMISMS[name]
    fails(T.optimism, answer, words=words)


# momentum


def momentum(steps, share):
    alpha = 1 - share ** (1 / steps)
    return alpha, alpha / (2 - alpha)


def by_logarithms(steps, share):
    alpha = -np.expm1(np.log(share) / steps)
    weights = alpha * (1 - alpha) ** np.arange(100_000)
    return np.array([alpha, (weights**2).sum()])


@pytest.mark.parametrize("answer", [momentum, by_logarithms])
def test_momentum_accepts(answer):
    passes(T.momentum, answer)


def first(formula):
    return lambda t, s: (formula(t, s), momentum(t, s)[1])


def second(formula):
    return lambda t, s: (momentum(t, s)[0], formula(momentum(t, s)[0]))


WRONG_MOMENTA = {
    "Keras": (first(lambda t, s: s ** (1 / t)), "that is Keras's"),
    "small": (first(lambda t, s: -np.log(s) / t), "for small momenta only"),
    "linear": (first(lambda t, s: (1 - s) / t), "by the same factor"),
    "1 - share": (first(lambda t, s: 1 - (1 - s) ** (1 / t)), "is 1 - share"),
    "power": (first(lambda t, s: 1 - s**t), "is the power steps"),
    "other": (first(lambda t, s: 0.5), "after t steps"),
    "not squared": (second(lambda a: 1.0), "squared in the variance"),
    "alpha": (second(lambda a: a), "squared before they are added"),
    "newest": (second(lambda a: a**2), "newest batch's part"),
    "half": (second(lambda a: a / 2), "for small momenta only"),
    "batches": (second(lambda a: (2 - a) / a), "how many batches"),
    "deviation": (second(lambda a: np.sqrt(a / (2 - a))), "the standard deviation"),
    "sum alone": (second(lambda a: 1 / (a * (2 - a))), "α² stands in front"),
    "other noise": (second(lambda a: -1), "k-th last batch"),
    "one number": (lambda t, s: momentum(t, s)[0], "expected"),
    "raises": (lambda t, s: t[s], "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_MOMENTA)
def test_momentum_names_what_is_wrong(name):
    answer, words = WRONG_MOMENTA[name]
    fails(T.momentum, answer, words=words)


# schedule


def scheduling(
    make=lr_scheduler.CosineAnnealingLR,
    total=lambda epochs, n: epochs,
    when="epoch",
    zero=True,
):
    def answer(model, batches, optimizer, epochs):
        schedule = make(optimizer, total(epochs, len(batches)))
        for _ in range(epochs):
            if when == "before epoch":
                schedule.step()
            for x, y in batches:
                if zero:
                    optimizer.zero_grad()
                F.cross_entropy(model(x), y).backward()
                if when == "before batch":
                    schedule.step()
                optimizer.step()
                if when == "batch":
                    schedule.step()
            if when == "epoch":
                schedule.step()

    return answer


def by_lambda(model, batches, optimizer, epochs):
    schedule = lr_scheduler.LambdaLR(
        optimizer, lambda e: (1 + math.cos(math.pi * e / epochs)) / 2
    )
    for _ in range(epochs):
        for x, y in batches:
            model.zero_grad()
            nn.CrossEntropyLoss()(model(x), y).backward()
            optimizer.step()
        schedule.step()
    return model


def by_hand(model, batches, optimizer, epochs):
    base = optimizer.param_groups[0]["lr"]
    for epoch in range(epochs):
        for group in optimizer.param_groups:
            group["lr"] = base * np.cos(np.pi * epoch / epochs / 2) ** 2
        for x, y in batches:
            F.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("answer", [scheduling(), by_lambda, by_hand])
def test_schedule_accepts(answer):
    passes(T.schedule, answer)


def linear(optimizer, epochs):
    return lr_scheduler.LambdaLR(optimizer, lambda e: 1 - e / epochs)


WRONG_SCHEDULES = {
    "the listing": (scheduling(when="before batch"), "before each batch's step"),
    "per batch": (scheduling(when="batch"), "falls to 0 and rises again"),
    "per batch, long": (
        scheduling(when="batch", total=lambda e, n: e * n),
        "the same rate for all of an epoch",
    ),
    "never": (scheduling(when="never"), "is the schedule ever stepped"),
    "before the epoch": (scheduling(when="before epoch"), "in place of after it"),
    "epochs - 1": (scheduling(total=lambda e, n: e - 1), "is T_max epochs - 1"),
    "batches": (scheduling(total=lambda e, n: e * n), "where the schedule counts"),
    "linear": (scheduling(make=linear), "falls along a line"),
    "steps": (
        scheduling(make=lambda o, e: lr_scheduler.StepLR(o, 1)),
        "expected ½ η",
    ),
    "no zero_grad": (scheduling(zero=False), "the batches before"),
    "one epoch": (lambda m, b, o, e: scheduling()(m, b, o, 1), "makes 5 steps"),
    "nothing": (lambda m, b, o, e: print(), "makes 0 steps"),
    "raises": (lambda m, b, o, e: m(b), "raised"),
}


@pytest.mark.parametrize("name", WRONG_SCHEDULES)
def test_schedule_names_what_is_wrong(name):
    answer, words = WRONG_SCHEDULES[name]
    fails(T.schedule, answer, words=words, seeds=range(3))


# large_batch


def rates(
    scale=lambda k: k,
    steps=lambda n, old, new: math.ceil(n / new),
    length=lambda warmup, steps: warmup * steps,
    start=lambda lr: lr,
    shift=0,
    extra=0,
    shape=lambda r: r,
):
    def answer(lr, batch, new_batch, n_train, epochs, warmup):
        n = steps(n_train, batch, new_batch)
        target, first = lr * scale(new_batch / batch), start(lr)
        rise = max(length(warmup, n), 1)
        t = np.arange(epochs * n + extra * n)
        return shape(first + (target - first) * np.minimum((t + shift) / rise, 1))

    return answer


def by_pieces(lr, batch, new_batch, n_train, epochs, warmup):
    steps = -(-n_train // new_batch)
    target = lr * new_batch / batch
    rise = np.linspace(lr, target, warmup * steps, endpoint=False)
    return [*rise, *[target] * ((epochs - warmup) * steps)]


def by_schedule(lr, batch, new_batch, n_train, epochs, warmup):
    target = lr * new_batch / batch
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], target)
    steps = len(range(0, n_train, new_batch))
    schedule = lr_scheduler.LinearLR(optimizer, batch / new_batch, 1.0, warmup * steps)
    found = []
    for _ in range(epochs * steps):
        found.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return torch.tensor(found)


@pytest.mark.parametrize("answer", [rates(), by_pieces, by_schedule])
def test_large_batch_accepts(answer):
    passes(T.large_batch, answer)


def given(lr, batch, new_batch, n_train, epochs, warmup):
    target = lr * batch / new_batch
    steps = n_train // batch
    rise = np.linspace(0, target, warmup)
    return np.concatenate([rise, np.full(epochs * steps - warmup, target)])


WRONG_RATES = {
    "the listing": (given, "the steps of the old batch size"),
    "old steps": (rates(steps=lambda n, old, new: -(-n // old)), "old batch size"),
    "floor": (rates(steps=lambda n, old, new: n // new), "the last, smaller batch"),
    "wrong way": (rates(scale=lambda k: 1 / k), "scaled the wrong way"),
    "root": (rates(scale=np.sqrt), "by the root"),
    "not scaled": (rates(scale=lambda k: 1), "is the rate scaled at all"),
    "no warm-up": (rates(length=lambda w, n: 0, shift=1), "is there a warm-up"),
    "steps": (rates(length=lambda w, n: w), "counts epochs, not steps"),
    "from 0": (rates(start=lambda lr: 0.0), "the warm-up from 0"),
    "from 0, steps": (
        rates(start=lambda lr: 0.0, length=lambda w, n: w),
        "does it start at 0, and",
    ),
    "shifted": (rates(shift=1), "step 0 has the rate lr"),
    "one early": (rates(length=lambda w, n: w * n - 1), "one step too early"),
    "all epochs": (rates(length=lambda w, n: 6 * n), "rise in all epochs"),
    "warm-up on top": (rates(extra=2), "a part of the epochs"),
    "one too many": (rates(shape=lambda r: [*r, r[-1]]), "one too many"),
    "each epoch": (rates(shape=lambda r: r[:6]), "not for each epoch"),
    "short": (rates(shape=lambda r: r[:-3]), "an epoch has"),
    "other": (rates(scale=lambda k: 3 * k), "then constant"),
    "text": (lambda *a: "rates", "expected a list of rates"),
    "raises": (lambda *a: a[8], "IndexError"),
}


@pytest.mark.parametrize("name", WRONG_RATES)
def test_large_batch_names_what_is_wrong(name):
    answer, words = WRONG_RATES[name]
    fails(T.large_batch, answer, words=words)


# grow


def grow(rates, batch, limit):
    pairs = []
    for rate in rates:
        size = min(round(batch * rates[0] / rate), limit)
        pairs.append((rate * size / batch, size))
    return pairs


def by_arrays(rates, batch, limit):
    rates = np.array(rates)
    sizes = np.minimum(np.rint(rates[0] / rates * batch), limit).astype(int)
    return np.stack([rates / batch * sizes, sizes], axis=1)


@pytest.mark.parametrize("answer", [grow, by_arrays])
def test_grow_accepts(answer):
    passes(T.grow, answer)


def each(formula):
    return lambda rates, batch, limit: [
        formula(rates[0], rate, batch, limit, i) for i, rate in enumerate(rates)
    ]


WRONG_GROWTHS = {
    "no limit": (
        each(lambda first, rate, b, limit, i: (first, round(b * first / rate))),
        "above the limit",
    ),
    "shrinks": (
        each(lambda first, rate, b, limit, i: (first, round(b * rate / first))),
        "smaller batches make more noise",
    ),
    "shrinks, unrounded": (
        each(lambda first, rate, b, limit, i: (first, b * rate / first / 3 * 2.97)),
        "a whole number",
    ),
    "rate stays": (
        each(lambda f, r, b, limit, i: (f, min(round(b * f / r), limit))),
        "the batch cannot grow any more",
    ),
    "both": (
        each(lambda f, r, b, limit, i: (r, min(round(b * f / r), limit))),
        "decayed although the batch has grown",
    ),
    "as it was": (each(lambda f, r, b, limit, i: (r, b)), "the schedule as it was"),
    "nothing": (
        each(lambda f, r, b, limit, i: (f, b)),
        "rate · size kept|to be what the schedule has",
    ),
    "product": (
        each(lambda f, r, b, limit, i: (r * b / (2 * b), 2 * b)),
        "not with their product",
    ),
    "doubles": (
        each(lambda f, r, b, limit, i: (f, min(b * 2**i, limit))),
        "to be what the schedule has",
    ),
    "sizes alone": (lambda r, b, limit: [b] * len(r), "expected 2 things"),
    "short": (lambda r, b, limit: [(r[0], b)], "there are 1 pairs"),
    "no list": (lambda r, b, limit: b, "expected a list of pairs"),
    "raises": (lambda r, b, limit: r / b, "TypeError"),
}


@pytest.mark.parametrize("name", WRONG_GROWTHS)
def test_grow_names_what_is_wrong(name):
    answer, words = WRONG_GROWTHS[name]
    fails(T.grow, answer, words=words)


# zeros

EVERY = {"W", "gamma", "beta", "V", "c"}
ZEROS = {
    "usual": EVERY,
    "W = 0": {"c"},
    "V = 0": {"V", "c"},
    "gamma = 0": {"c"},
    "rows of W equal": EVERY,
    "W = 0, beta = 1": {"W", "beta", "V", "c"},
}


def gradients(key):
    """Which parameters get a gradient, by autograd."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)
    ).double()
    names = ["W", "gamma", "beta", "V", "c"]
    parameters = dict(zip(names, net.parameters(), strict=True))
    with torch.no_grad():
        for setting in key.split(", "):
            if setting == "rows of W equal":
                net[0].weight[:] = net[0].weight[0].clone()
            elif " = " in setting:
                name, value = setting.split(" = ")
                parameters[name].fill_(float(value))
    x = torch.randn(20, 6, dtype=torch.float64)
    F.cross_entropy(net(x), torch.arange(20) % 3).backward()
    return {name for name, p in parameters.items() if p.grad.abs().max() > 1e-9}


@pytest.mark.parametrize("key", ZEROS)
def test_zeros_is_what_autograd_says(key):
    assert gradients(key) == ZEROS[key]


def test_zeros():
    passes(T.zeros, ZEROS, seeds=[0])
    passes(T.zeros, {k: sorted(v) for k, v in ZEROS.items()}, seeds=[0])
    passes(T.zeros, ZEROS | {"W = 0": "c"}, seeds=[0])
    assert T.zeros(dict.fromkeys(ZEROS)).status == "not attempted"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("usual", EVERY - {"gamma"}, "gamma does not learn: its gradient is the sum"),
        ("W = 0", {"W", "c"}, "ReLU receives exactly 0"),
        ("W = 0", {"V", "c"}, "V learns: its gradient is dlogits"),
        ("W = 0", set(), "c does not learn"),
        ("V = 0", EVERY, "beta learns: its gradient is the sum of dy"),
        ("gamma = 0", {"gamma", "c"}, "its derivative there is 0"),
        ("rows of W equal", {"V", "c"}, "all units are one unit"),
        ("W = 0, beta = 1", {"beta", "V", "c"}, "dz differs between"),
        ("W = 0, beta = 1", EVERY, "what is x̂ there"),
        ("V = 0", {"V", "bias"}, "there is no parameter 'bias'"),
        ("V = 0", 3, "expected a set of names"),
        ("V = 0", None, "no prediction yet"),
    ],
)
def test_zeros_names_what_is_wrong(key, value, words):
    fails(T.zeros, ZEROS | {key: value}, words=words, seeds=[0])
