"""What a participant remembers of sums that may hold its update, in memory and in a file."""
