"""Hypothesis profiles: `ci` for every change, `long` for a night (HYPOTHESIS_PROFILE=long)."""

import os

from hypothesis import HealthCheck, settings

from secagg.transport.tls import prefer_tls13

settings.register_profile("ci", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("long", deadline=None, max_examples=5_000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# grpc reads this when it is first imported; the coordinator refuses to start in a process where it was not set by then.
prefer_tls13()
