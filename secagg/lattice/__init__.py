"""Ring-LWE arithmetic for CKKS and BFV: parameters, residues on the wire, keys, encryption by TenSEAL, decoding."""
