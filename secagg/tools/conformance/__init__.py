"""Conformance vectors: what another implementation needs to check itself against this one (proto/PROTOCOL.md)."""
