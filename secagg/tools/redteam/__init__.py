"""The red team: attacks on the product through the eyes of each adversary, and the proof that they can fail."""
