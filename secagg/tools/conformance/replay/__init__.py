"""Plays the steps of a vector on the real participants and coordinator, without TenSEAL."""
