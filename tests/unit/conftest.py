"""What tests of more than one package share."""

from __future__ import annotations

import pytest
from fake_control import FakeControl
from hypothesis import settings

settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")  # how long an example takes is the machine's affair


@pytest.fixture
def control() -> FakeControl:
    """Return an arbiter's stand-in behind the admin."""
    return FakeControl()
