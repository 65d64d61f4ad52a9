"""From named float arrays to integers in a ring and to packed bytes, and back."""
