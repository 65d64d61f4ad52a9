"""Hypothesis profiles: `ci` for every change, `long` for a night (HYPOTHESIS_PROFILE=long); the code of pages."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from secagg.transport.tls import prefer_tls13
from tests.pages import Claim, Code, taken

settings.register_profile("ci", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# grpc reads this when it is first imported; the coordinator refuses to start in a process where it was not set by then.
prefer_tls13()


@pytest.fixture
def page(request: pytest.FixtureRequest) -> Iterator[Code]:
    """The code that the marks `runs` of a test claim; the test fails if it leaves a block."""
    with taken([Claim.of(*mark.args) for mark in reversed(list(request.node.iter_markers("runs")))]) as code:
        yield code
