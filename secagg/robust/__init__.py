"""Groups of a round, and combinations of their sums that a poisoned update cannot move far."""
