"""Homomorphic rounds in custody `participants`: one participant deals a key, all encrypt under it and decrypt the sum.

One file for each phase, in this order: advertise_keys, share_keys, confirm_key, encrypted_input, report_sum,
release_sum. Each has the participant's side, one frozen class per state, and the coordinator's.
"""
