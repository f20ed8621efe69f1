"""Two arms seed by seed: differences, interval, verdict; and calibration."""

from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr, stdtrit

from dropnorm.replicates.runs import UNITS, Runs


@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """Paired differences, treatment − control, one for each seed.

    Attributes
    ----------
    metric, treatment, control : str
        What was compared.
    treatment_values, control_values, differences : ndarray of shape (n,)
    mean, low, high : float
        The mean difference and its 99 % interval (Student's t on the differences).
    p_value : float
        Two-sided, of a mean difference of zero.
    verdict : str
        "lower" or "higher" exactly when the interval excludes zero, else
        "no clear difference".
    agreeing, n : int
        Seeds whose difference has the sign of the mean, and all seeds.
    """

    metric: str
    treatment: str
    control: str
    treatment_values: np.ndarray
    control_values: np.ndarray
    differences: np.ndarray
    mean: float
    low: float
    high: float
    p_value: float
    verdict: str
    agreeing: int
    n: int

    @property
    def label(self):
        """The metric in words, with its unit, as for an axis."""
        words = self.metric.replace("_", " ")
        for acronym in ("nll", "ece", "mse"):
            words = words.replace(acronym, acronym.upper())
        unit = UNITS.get(self.metric)
        return f"{words} [{unit}]" if unit else words

    def __repr__(self):
        unit = UNITS.get(self.metric)
        digits = {"%": ".2f", "nats": ".4f", None: ".3g"}[unit]
        # Adding 0.0 turns the -0.0 that rounding leaves into 0.0.
        mean, low, high = (
            format(float(format(value, digits)) + 0.0, digits)
            for value in (self.mean, self.low, self.high)
        )
        direction = {-1: "lower", 0: "equal", 1: "higher"}[int(np.sign(self.mean))]
        return (
            f"{self.label}, {self.treatment} - {self.control}: "
            f"{direction} in {self.agreeing} of {self.n} seeds\n"
            f"    {mean}, 99 % interval [{low}, {high}]: {self.verdict}"
        )


def compare(treatment, control, metric="difference", names=("treatment", "control")):
    """Compare two arms seed by seed.

    Parameters
    ----------
    treatment, control : Runs, or array_like of shape (n,)
        Of the same seeds, at least 8, in the same order.
    metric : str
        Of `Runs`: test_error, test_nll, test_ece, test_mse, and all but the third with
        train or val for test. Of arrays: any text that says what they hold.
    names : pair of str
        What to call two arrays; `Runs` have names.

    Returns
    -------
    Comparison
        Printed, it is two lines of text.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or a value is not finite.
    """
    if isinstance(treatment, Runs) != isinstance(control, Runs):
        raise TypeError("compare takes two Runs or two arrays, not one of each")
    seeds = range(np.size(treatment))
    if isinstance(treatment, Runs):
        if metric not in UNITS:
            raise ValueError(f"metric must be one of {list(UNITS)}, got {metric!r}")
        if treatment.seeds != control.seeds:
            raise ValueError(
                "both arms need the same seeds in the same order, "
                f"got {treatment.seeds} and {control.seeds}"
            )
        seeds, names = treatment.seeds, (treatment.name, control.name)
        treatment, control = getattr(treatment, metric), getattr(control, metric)
    treatment, control = np.asarray(treatment, float), np.asarray(control, float)
    if treatment.ndim != 1 or treatment.shape != control.shape:
        raise ValueError(
            "the arrays must have equal shapes (n,), one value for each seed, "
            f"got {treatment.shape} and {control.shape}"
        )
    n = len(treatment)
    if n < 8:
        raise ValueError(f"a comparison needs at least 8 seeds, got {n}")
    for name, values in zip(names, (treatment, control), strict=True):
        for seed, value in zip(seeds, values, strict=True):
            if not np.isfinite(value):
                raise ValueError(f"{metric} of {name!r} is {value} for seed {seed}")

    differences = treatment - control
    mean = differences.mean()
    # mean ± t · s/√n, with t the 99.5 % point of Student's t of n − 1 degrees
    standard_error = differences.std(ddof=1) / np.sqrt(n)
    half_width = stdtrit(n - 1, 0.995) * standard_error
    low, high = mean - half_width, mean + half_width
    if standard_error > 0:
        p_value = 2 * stdtr(n - 1, -abs(mean) / standard_error)
    else:
        p_value = 1.0 if mean == 0 else 0.0
    verdict = "lower" if high < 0 else "higher" if low > 0 else "no clear difference"
    agreeing = int((np.sign(differences) == np.sign(mean)).sum())
    return Comparison(
        metric,
        *names,
        treatment,
        control,
        differences,
        *(float(number) for number in (mean, low, high, p_value)),
        verdict,
        agreeing,
        n,
    )


def expected_calibration_error(probabilities, labels, bins=15):
    """How far confidence is from accuracy, on average, in per cent.

    ECE = Σ_b n_b/n · abs(accuracy_b − confidence_b) over bins b of equal width of the
    top probability; bin b holds confidences in (b/bins, (b+1)/bins].

    Parameters
    ----------
    probabilities : ndarray of shape (N, K)
    labels : ndarray of int of shape (N,)
    bins : int

    Returns
    -------
    float

    References
    ----------
    Guo, Pleiss, Sun and Weinberger (2017), On calibration of modern neural networks,
    equation 3.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    bin_of = np.digitize(confidence, np.arange(1, bins) / bins, right=True)
    # n_b · (accuracy_b − confidence_b) is the sum over the bin of correct − confidence
    gaps = np.bincount(bin_of, weights=correct - confidence, minlength=bins)
    return float(100 * np.abs(gaps).sum() / len(labels))
