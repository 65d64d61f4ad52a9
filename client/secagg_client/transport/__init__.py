"""What the clients share of gRPC, and the two files that differ between asynchronous and synchronous."""
