"""How a checker has to take an answer: shared by the tests of the checkers."""

SEEDS = range(6)


def passes(check, *answers, seeds=SEEDS):
    for seed in seeds:
        result = check(*answers, seed=seed)
        assert result.status == "passed", (seed, result)


def fails(check, *answers, words, seeds=SEEDS):
    for seed in seeds:
        result = check(*answers, seed=seed)
        assert result.status == "failed", (seed, result)
        assert words in result.message, (seed, result)
