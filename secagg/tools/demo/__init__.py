"""`secagg demo`: a federated training job on real data, with real processes, real TLS and real dropouts."""
