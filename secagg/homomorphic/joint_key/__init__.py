"""Homomorphic rounds in custody `threshold` (experimental): everyone holds a part of the key, and the sum is opened by
partial decryptions with added noise.

Mouchet et al. (2021), ePrint 2020/304, with key seeds shared by Shamir so that decryptors may drop out. It stands
against a coordinator that follows the protocol: partial decryptions are not proven correct, and ciphertexts are
malleable.

One file for each phase, in this order: advertise_keys, share_keys, encrypted_input, consistency_check,
partial_decryption, recovery_check, recover_seeds. Each has the participant's side, one frozen class per state, and the
coordinator's.
"""
