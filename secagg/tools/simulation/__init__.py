"""The same state machines over an in-memory network: for tests, vectors, attacks and `secagg simulate`."""
