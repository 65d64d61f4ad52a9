"""What shows that the product is right, and how fast: nothing outside this package imports it."""
