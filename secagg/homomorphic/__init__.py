"""Homomorphic summation: participants encrypt, the coordinator adds what it cannot open, only the sum is decrypted."""
