"""How a metric says that it has no value."""


class MetricError(Exception):
    """The metric cannot be computed from what it was given; the message says why."""
