"""What an operator sees of a running coordinator: its log, and the place for metrics."""
