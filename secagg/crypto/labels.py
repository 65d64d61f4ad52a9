"""Every domain-separation label of the protocol, in one place (proto/PROTOCOL.md, "Labels").

A label starts every hash, signature and key derivation, so that no value made for one purpose is ever accepted for
another.
"""

from typing import Final

CONTEXT: Final = b"secagg/v1/context"
INPUT_CONTEXT: Final = b"secagg/v1/input-context"
ADVERTISE_SIGNATURE: Final = b"secagg/v1/advertise-keys-signature"
CONSISTENCY_SIGNATURE: Final = b"secagg/v1/consistency-signature"
RECEIPT_SIGNATURE: Final = b"secagg/v1/receipt-signature"
RESULT_SIGNATURE: Final = b"secagg/v1/result-signature"
ROSTER_DIGEST: Final = b"secagg/v1/roster"
ROSTER_ENTRY: Final = b"secagg/v1/roster-entry"
SPARSE_ROSTER: Final = b"secagg/v1/sparse-roster"
GRAPH_CONTEXT: Final = b"secagg/v1/graph-context"
GRAPH_SEED: Final = b"secagg/v1/graph-seed"
GRAPH_PLACE: Final = b"secagg/v1/graph-place"
GRAPH_COMMITTEE: Final = b"secagg/v1/graph-committee"
SELF_MASK_COMMITMENT: Final = b"secagg/v1/self-mask-commitment"
SHARE_SEALING: Final = b"secagg/v1/share-sealing"
PAIR_SECRET: Final = b"secagg/v1/pair-secret"
PAIR_SECRET_SEALING: Final = b"secagg/v1/pair-secret-sealing"
PAIR_SECRET_DIGEST: Final = b"secagg/v1/pair-secret-digest"
SHARE_ASSOCIATED_DATA: Final = b"secagg/v1/share"
MASK_KEY_SHARE_DIGEST: Final = b"secagg/v1/mask-key-share-digest"
SELF_MASK_SHARE_DIGEST: Final = b"secagg/v1/self-mask-share-digest"
DEALING_SIGNATURE: Final = b"secagg/v1/dealing-signature"
DEALT_ENTRY: Final = b"secagg/v1/dealt-entry"
PAIRWISE_MASK: Final = b"secagg/v1/pairwise-mask"
SELF_MASK: Final = b"secagg/v1/self-mask"
ROUNDING: Final = b"secagg/v1/stochastic-rounding"
MODEL_DIGEST: Final = b"secagg/v1/model"
SAVED_STATE: Final = b"secagg/v1/saved-state"
KEPT_STATE: Final = b"secagg/v1/kept-state"
KEPT_INPUT: Final = b"secagg/v1/kept-input"
CARRIED_FEEDBACK: Final = b"secagg/v1/carried-feedback"
TRUST_DIGEST: Final = b"secagg/v1/trust-anchors"
VERIFIED_CHAIN: Final = b"secagg/v1/verified-chain"

# Homomorphic summation
RESIDUE_STREAM: Final = b"secagg/v1/residue-stream"
REFERENCE_STRING: Final = b"secagg/v1/common-reference-string"
RESIDUES_DIGEST: Final = b"secagg/v1/residues"
TERNARY_KEY: Final = b"secagg/v1/ternary-key"
KEY_ERROR: Final = b"secagg/v1/key-error"
KEY_SHARE_COMMITMENT: Final = b"secagg/v1/key-share-commitment"
DEALT_KEY_DIGEST: Final = b"secagg/v1/dealt-key"
DEALT_KEY_SEALING: Final = b"secagg/v1/dealt-key-sealing"
SEED_SHARE_SEALING: Final = b"secagg/v1/key-seed-share-sealing"
SEED_SHARE_DIGEST: Final = b"secagg/v1/key-seed-share-digest"
KEY_CONFIRMATION_SIGNATURE: Final = b"secagg/v1/key-confirmation-signature"
ENCRYPTED_INPUT_BINDING: Final = b"secagg/v1/encrypted-input"
ENCRYPTED_CHUNK_BINDING: Final = b"secagg/v1/encrypted-input-chunk"
SUM_REPORT_SIGNATURE: Final = b"secagg/v1/sum-report-signature"
DECRYPTION_SIGNATURE: Final = b"secagg/v1/decryption-signature"
RECOVERY_SIGNATURE: Final = b"secagg/v1/recovery-signature"

# Defences
NOISE: Final = b"secagg/v1/noise"
NOISE_TIES: Final = b"secagg/v1/noise-ties"
ROTATION: Final = b"secagg/v1/rotation"
COORDINATE_SAMPLING: Final = b"secagg/v1/coordinate-sampling"
GROUP_ROUND_ID: Final = b"secagg/v1/group-round-id"
LEDGER_FILE: Final = b"secagg/v1/privacy-ledger-file"
LEDGER_ENTRY: Final = b"secagg/v1/privacy-ledger"

# What a coordinator keeps on its disk
STORE_ROW: Final = b"secagg/v1/store-row"
STORE_SEALING: Final = b"secagg/v1/store-sealing"
JOURNAL_ENTRY: Final = b"secagg/v1/journal-entry"
NOISE_SEED: Final = b"secagg/v1/kept-noise-seed"

# Between the coordinator and its ingress workers
LINK_TOKEN: Final = b"secagg/v1/link-token"

# Audit log
AUDIT_ENTRY: Final = b"secagg/v1/audit-entry"
AUDIT_CHECKPOINT: Final = b"secagg/v1/audit-checkpoint-signature"
