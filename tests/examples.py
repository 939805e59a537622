"""How many examples hypothesis tries: all of them in `make test-all`, fewer in `make test`."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, settings

THOROUGH = 100
"""Examples of a test that does not say how many, in the profile ``thorough``."""

# Cores are shared, so that a slow example says nothing; what matters is that it holds.
PROFILES = {
    name: settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    for name, count in (("quick", 30), ("thorough", THOROUGH))
}


def example_count(thorough: int) -> int:
    """`thorough` in the profile of that name; in another the share of it that the profile has of `THOROUGH`."""
    return math.ceil(thorough * settings().max_examples / THOROUGH)
