"""One simulator for all faults: whole deployments in one process, each history a function of its seed.

The coordinator is the real one from its call handlers down to its store, and the clients are the real ones with their
real retries. Below them nothing is real: `loop` has a clock of its own, `network` cuts, delays, repeats and reorders,
machines have wall clocks that jump, and programs are killed at any instant. `history` is what was seen from outside,
and `checker` judges it by PROTOCOL alone.
"""

import secagg_server  # noqa: F401  (says what gRPC may offer, before it is loaded)
