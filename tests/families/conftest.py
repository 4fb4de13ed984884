"""What the sweep over families shares."""

import pytest
import torch


@pytest.fixture
def one_thread():
    """Tiny models are slower on several threads."""
    torch.set_num_threads(1)
