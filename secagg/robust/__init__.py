"""What sums of groups can do against poisoned updates, and what they cost."""
