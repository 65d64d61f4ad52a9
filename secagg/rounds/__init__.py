"""What the rounds of all schemes have in common.

Coordinator: `engine` (the state machine, explained at its head) and `opening_and_closing`, its inner half;
`coordinator_phase`, the base of a phase; `advertise_keys`, the first phase; `members`, `dropouts`, `accusations` and
`shared_state`, what is known of a round; `uploads`, vectors in chunks; `recovery`, secrets from shares.

Participant: `session`, which holds the current state; `membership` and `checked_roster`, what a state knows.

Both: `dealing` and `peer_sealing`, what members seal to each other; `releases`, which sums may be opened together;
`certification`, signatures under the result.
"""
