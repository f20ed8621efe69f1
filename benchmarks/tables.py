"""Print a table and keep it where the book's page on speed shows it."""

import platform
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import torch

FOLDER = Path(__file__).parents[1] / "book" / "reference" / "_tables"
WIDTH = 75  # columns


def machine():
    """What decides speed; nothing that tells whose machine it is."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")  # on Linux, where platform knows less
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                model = " ".join(line.partition(":")[2].split())
                break
    return (
        f"{model}, {joblib.cpu_count()} cores, {platform.system()}\n"
        f"Python {platform.python_version()}, NumPy {np.__version__}, "
        f"PyTorch {torch.__version__}"
    )


@contextmanager
def table(name):
    """A function that prints a line; in the end all lines are written to the file."""
    lines = []

    def add(text=""):
        for line in text.split("\n"):
            lines.append(line.rstrip())
            print(lines[-1], flush=True)

    yield add
    add()
    add(machine())
    wide = [line for line in lines if len(line) > WIDTH]
    if wide:
        raise ValueError(f"a line must have at most {WIDTH} columns, got {wide[0]!r}")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
