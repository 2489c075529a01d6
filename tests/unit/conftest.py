"""What tests of more than one package share."""

from __future__ import annotations

import pytest
from fake_control import FakeControl


@pytest.fixture
def control() -> FakeControl:
    """Return an arbiter's stand-in behind the admin."""
    return FakeControl()
