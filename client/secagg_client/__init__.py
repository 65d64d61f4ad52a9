"""secagg for federated-learning clients and servers."""
