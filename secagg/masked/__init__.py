"""Masked aggregation (Bonawitz et al. 2017) as state machines without input or output."""
