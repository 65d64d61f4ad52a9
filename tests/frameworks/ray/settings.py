"""Settings of the Ray clusters that tests start."""

NOTICED_SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 5000,
    "health_check_failure_threshold": 3,
}
"""Settings of Ray: a node that was killed is noticed after a few seconds."""
