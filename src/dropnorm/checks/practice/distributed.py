"""Exercises of the chapter practice/distributed."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from dropnorm.checks.base import Wrong, agree, call, check_array, number, recognize
from dropnorm.checks.practice.tensors import checker
from dropnorm.checks.together.models import act

# One step from several small batches


class _Recorder(torch.optim.SGD):
    """SGD that notes the gradient of each step."""

    def __init__(self, parameters):
        super().__init__(parameters, lr=0.1)
        self.gradients = []

    def step(self, closure=None):
        flat = [
            torch.zeros_like(w) if w.grad is None else w.grad
            for group in self.param_groups
            for w in group["params"]
        ]
        self.gradients.append(torch.cat([g.flatten() for g in flat]).clone())
        return super().step(closure)


def _accumulated(model, batches):
    """The gradient that is wanted, and those that people find."""
    weights = list(model.parameters())

    def gradient(loss):
        parts = torch.autograd.grad(loss, weights)
        return torch.cat([g.flatten() for g in parts]).numpy()

    sums, means, last, loose = 0, 0, 0, 0
    labeled = sum(int((y != -100).sum()) for _, y in batches)
    examples = sum(len(y) for _, y in batches)
    for x, y in batches:
        loss = F.cross_entropy(model(x), y, reduction="sum")
        n = int((y != -100).sum())
        sums = sums + gradient(loss)
        last = gradient(F.cross_entropy(model(x), y, reduction="sum")) / max(n, 1)
        means = means + last
        loose = loose + last * len(y)
    k = len(batches)
    return {
        "": sums / labeled,
        "it is that of the last batch alone: who calls zero_grad, and when?": last,
        "the means of the batches are added up: how large is it with ten batches?": (
            means
        ),
        "it is the mean of the batches' means: is an example in a small batch worth "
        "more than one in a large batch?": means / k,
        "each batch counts by its rows. Rows that are labeled -100 are not in the "
        "loss": loose / examples,
        "the sum of the losses is not divided by their number": sums,
        "the sum of the losses is divided by the number of rows, with those labeled "
        "-100": sums / examples,
        "the sum of the losses is divided by the number of batches": sums / k,
    }


@checker
def accumulate(solve, *, seed=0):
    """``solve(model, batches, optimizer)``: one step with the gradient of all."""
    rng = np.random.default_rng(seed)
    labels = {
        "all labeled, of equal size": [[0, 1, 2], [2, 0, 1], [1, 1, 0]],
        "of different sizes": [[0, 1, 2, 1, 0, 2], [1, 2], [0]],
        "with rows that are not labeled": [[0, -100, -100, 1], [2, 1, 0, 0], [1, -100]],
        "one of which has no labels": [[0, 1, 2], [-100, -100], [1, -100, 0]],
    }
    for where, ys in labels.items():
        torch.manual_seed(seed)
        model = nn.Linear(4, 3)
        batches = [
            (torch.tensor(rng.standard_normal((len(y), 4))), torch.tensor(y))
            for y in ys
        ]
        variants = _accumulated(model, batches)
        optimizer = _Recorder(model.parameters())
        for w in model.parameters():  # left over from before
            w.grad = torch.full_like(w, 5.0)
        act(solve, model, batches, optimizer, when=f"for batches {where}:")
        steps = len(optimizer.gradients)
        if steps != 1:
            raise Wrong(f"for batches {where}: {steps} steps are made, expected one")
        got = optimizer.gradients[0].numpy()
        if not np.isfinite(got).all():
            raise Wrong(
                f"for batches {where}: the gradient holds NaN: what is the mean loss "
                "of a batch without labels?"
            )
        hint = recognize(got, variants)
        if hint == "":
            continue
        if hint is None:
            hint = "expected that of the mean loss over all labeled rows of all batches"
            if recognize(got - 5, variants) is not None:
                hint = "a gradient from before the call is in it"
        raise Wrong(f"for batches {where}: the gradient is wrong: {hint}")


# Seeds that meet again


@checker
def streams(solve, *, seed=0):
    """``solve(seed, epoch, rank, worker)``: a generator that no other place has."""
    base = int(np.random.default_rng(seed).integers(1000))
    places = [
        (s, epoch, rank, worker)
        for s in (base, base + 1, base + 1000)
        for epoch in (0, 1, 2, 10, 100)
        for rank in (0, 1, 2, 7)
        for worker in (0, 1, 2, 3)
    ]
    names = "seed {}, epoch {}, rank {}, worker {}"
    drawn = {}
    for place in places:
        generator = call(solve, *place, when=f"for {names.format(*place)}:")
        if not isinstance(generator, np.random.Generator):
            raise Wrong(f"expected a np.random.Generator, got {generator!r}")
        first = tuple(generator.integers(2**60, size=3).tolist())
        if first in drawn:
            changed = [
                what
                for what, a, b in zip(
                    ("seed", "epoch", "rank", "worker"),
                    drawn[first],
                    place,
                    strict=True,
                )
                if a != b
            ]
            hint = "are two numbers added up that can make the same sum?"
            if len(changed) == 1:
                hint = f"does the {changed[0]} count, in every case?"
            raise Wrong(
                f"{names.format(*drawn[first])} and {names.format(*place)} draw the "
                f"same numbers: {hint}"
            )
        drawn[first] = place
    again = call(solve, *places[7]).integers(2**60, size=3).tolist()
    if drawn.get(tuple(again)) != places[7]:
        raise Wrong(
            "called twice with the same four numbers it draws other numbers: does it "
            "hang on something else? Then no run can be repeated"
        )


# The accuracy of several processes


@checker
def accuracy(solve, *, seed=0):
    """``solve(reports, n)``: the accuracy on n examples, each counted once."""
    rng = np.random.default_rng(seed)
    n = 10
    truth = rng.permutation([1, 1, 0, 1, 0, 1, 1, 0, 1, 1]).astype(bool)
    first = int(np.flatnonzero(~truth)[0])
    second = int(np.flatnonzero(truth)[0])  # one wrong, one right
    rest = [i for i in rng.permutation(n) if i not in (first, second)]
    order = np.array([first, second, *rest])
    cases = {
        "of two processes, without repetition": [order[::2], order[1::2]],
        "of two processes, with six examples and four": [order[:6], order[6:]],
        "of four processes, with two examples drawn twice": [
            np.resize(order, 12)[r::4] for r in range(4)
        ],
        "of three processes, with one example drawn three times": [
            order[:5],
            np.append(order[5:9], first),
            np.array([order[9], first]),
        ],
    }
    for where, parts in cases.items():
        reports = [(part.copy(), truth[part].copy()) for part in parts]
        shares = [truth[part].mean() for part in parts]
        total, hits = sum(map(len, parts)), sum(truth[part].sum() for part in parts)
        known = {
            "are examples that were drawn twice counted twice?": hits / total,
            "is it the mean of the processes' accuracies?": np.mean(shares),
            "the divisor is right, but are examples drawn twice among the hits?": (
                hits / n
            ),
            "is it in per cent? Expected a share": 100 * truth.mean(),
        }
        when = f"for reports {where}"
        got = number(call(solve, reports, n, when=when), "the result")
        agree(f"{when} the accuracy", got, truth.mean(), known, "count each index once")
    reports = [(order[:4], truth[order[:4]]), (order[4:8], truth[order[4:8]])]
    try:
        got = solve(reports, n)
    except ValueError:
        return
    except Exception as error:
        raise Wrong(
            f"where two examples are missing, it raised {type(error).__name__}, "
            "expected ValueError"
        ) from None
    raise Wrong(
        f"where two of ten examples are in no report, it returned {got}: expected a "
        "ValueError"
    )


# The way back, in shards


def _whole(xs, dys, gamma, eps):
    """dx of the whole batch, and own sums; the wrong versions beside them."""
    x, dy = np.concatenate(xs), np.concatenate(dys)
    n, mean = len(x), x.mean(axis=0)
    s = np.sqrt(x.var(axis=0) + eps)
    total = dy.sum(axis=0), (dy * (x - mean) / s).sum(axis=0)
    size = sum(map(len, xs)) / len(xs)
    for x_r, dy_r in zip(xs, dys, strict=True):
        hat = (x_r - mean) / s
        own = dy_r.sum(axis=0), (dy_r * hat).sum(axis=0)
        m = len(x_r)
        alone = (x_r - x_r.mean(axis=0)) / np.sqrt(x_r.var(axis=0) + eps)
        yield {
            "": gamma / (n * s) * (n * dy_r - total[0] - hat * total[1]),
            "are the two sums those of the own shard?": (
                gamma / (m * s) * (m * dy_r - own[0] - hat * own[1])
            ),
            "are the two sums those of the own shard, divided by all examples?": (
                gamma / (n * s) * (n * dy_r - own[0] - hat * own[1])
            ),
            "are mean and variance constants? x_i is in those of all": gamma / s * dy_r,
            "the sums are of all shards, and n is that of one?": (
                gamma / (m * s) * (m * dy_r - total[0] - hat * total[1])
            ),
            "is n the number of examples of all shards?": (
                gamma / (size * s) * (size * dy_r - total[0] - hat * total[1])
            ),
            "is γ in it?": (n * dy_r - total[0] - hat * total[1]) / (n * s),
            "is the shard normalized by its own mean and variance?": (
                gamma
                / (m * np.sqrt(x_r.var(axis=0) + eps))
                * (m * dy_r - dy_r.sum(axis=0) - alone * (dy_r * alone).sum(axis=0))
            ),
            "dgamma": (own[1], total[1]),
            "dbeta": (own[0], total[0]),
        }


@checker
def shards(solve, *, seed=0):
    """``solve(xs, dys, gamma, eps)``: (dx, dgamma, dbeta) of each shard."""
    rng = np.random.default_rng(seed)
    eps, names = 0.1, ["dx", "dgamma", "dbeta"]
    for sizes in ((4, 4), (5, 2, 3)):
        where = f"for shards of {', '.join(map(str, sizes))} examples:"
        gamma = rng.uniform(0.5, 2, 3)
        xs = [
            rng.standard_normal((m, 3)) * (r + 1) + 2 * r for r, m in enumerate(sizes)
        ]
        dys = [rng.standard_normal((m, 3)) for m in sizes]
        given = [[a.copy() for a in arrays] for arrays in (xs, dys)]
        got = call(solve, *given, gamma.copy(), eps, when=where)
        for now, was in zip(given[0] + given[1], xs + dys, strict=True):
            if not np.array_equal(now, was):
                raise Wrong("your code changes the arrays that it is given")
        if not isinstance(got, (list, tuple)) or len(got) != len(sizes):
            raise Wrong(f"{where} expected a list with one triple for each shard")
        for r, (answer, right) in enumerate(
            zip(got, _whole(xs, dys, gamma, eps), strict=True)
        ):
            if not isinstance(answer, (list, tuple)) or len(answer) != 3:
                raise Wrong(f"{where} expected dx, dgamma and dbeta for each shard")
            for name, value in zip(names, answer, strict=True):
                like = xs[r] if name == "dx" else gamma
                check_array(value, like=like, when=f"{where} {name} of shard {r}:")
            known = {k: v for k, v in right.items() if k and not k.startswith("d")}
            hint = "which sums go over all shards, and which over one?"
            agree(
                f"{where} dx of shard {r}, element ", answer[0], right[""], known, hint
            )
            for name, value in zip(names[1:], answer[1:], strict=True):
                own, total = right[name]
                agree(
                    f"{where} {name} of shard {r}, element ",
                    value,
                    own,
                    {
                        "is that the sum of all shards? Each gives its own, and they "
                        "are added up along with all other gradients": total,
                        "is it averaged? Expected the sum over the shard": own
                        / len(xs[r]),
                    },
                    "the sum over the own shard, with x̂ by the statistics of all",
                )
