"""Bytes on the wire to the values of `secagg.messages` and `secagg.config`, and back."""
