"""The exercises' checkers, one module or package for each exercise notebook.

A checker is called in one line, ``checks.dropout.forward(my_dropout)``, and returns
a `Result`; shown in a notebook, the result says what is wrong, or that nothing is.
Another ``seed=`` tries the answer on other inputs.
"""

from dropnorm.checks import batchnorm, cnn, dropout, practice, together
from dropnorm.checks.base import Result

__all__ = ["Result", "batchnorm", "cnn", "dropout", "practice", "together"]
