"""What the tests of replicates share."""

import pytest
import torch


@pytest.fixture(autouse=True)
def float64_in_one_process(monkeypatch):
    monkeypatch.setenv("DROPNORM_JOBS", "1")
    torch.set_default_dtype(torch.float64)
