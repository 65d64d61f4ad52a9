"""The connections of participants before gRPC sees them, and the addresses at which the coordinator listens."""
