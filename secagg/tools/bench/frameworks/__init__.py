"""What secure aggregation costs under a federated learning framework: the same app plain and secured, side by side."""
