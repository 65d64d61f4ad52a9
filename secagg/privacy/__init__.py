"""What noise is worth: Rényi divergences, composition, a finder of parameters and a ledger of what was spent.

What is guaranteed, and against whom (client-level differential privacy, zero-out neighbours):

- Two inputs of a round are neighbours if one participant's update is replaced by zeros. To replace it by another
  update costs what two such steps cost.
- The coordinator's view is all of the protocol: who takes part, every message, and the sum. It may collude with n_C
  participants. The noise counted is that of the t − n_C survivors that are certainly honest.
- Nothing is claimed for being drawn into a round: the coordinator sees who takes part.
- Noise is expanded from 256 bits of the operating system's CSPRNG by AES-256, so the guarantee is against adversaries
  that cannot break it. Samples are within a proven distance of the law, which δ pays for.
"""
