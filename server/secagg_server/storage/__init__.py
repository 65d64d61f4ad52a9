"""What is remembered: of rounds, of released sums and of privacy budgets. Another backend is another `store.Store`."""
