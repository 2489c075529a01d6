"""Every test that takes `make_store` runs over each store that there is."""

from __future__ import annotations

import pytest
from stores import IS_BUILT, MAKERS, MakeStore

collect_ignore_glob = [] if IS_BUILT else ["test_shared*.py"]


@pytest.fixture(params=sorted(MAKERS))
def make_store(request: pytest.FixtureRequest) -> MakeStore:
    """Return what makes a store of one kind."""
    return MAKERS[request.param]
