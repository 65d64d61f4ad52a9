"""Conformance vectors: what another implementation needs to check itself against this one (proto/PROTOCOL.md).

Each file of `proto/vectors` is made by a module here. The folder is found by what the vector shows:

    primitives/    hashes, signatures, key derivation, masks, secret sharing, lattices: no round around them
    encodings/     arrays to integers and bytes and back, configurations, noise, the privacy ledger,
                   the audit log
    rounds/        a whole round for each threat model, scheme and custody, with every value in between
    failures/      one thing that must be refused, as a row in a table; search there for the check's number
    replay/        plays the steps of a vector on the real participants and coordinator
    needs.py       which vectors concern which programs
    generate.py    calls all of these and writes the files

**A vector of a failure** is a row of the table in `failures/` for whoever must refuse: name, check, title, what is
changed in words, the change itself, and the outcome. The words for changes are in `failures/changes.py`, those for
the place in the round in `failures/stages.py`. The outcome is stated by hand: the generator plays the row on the real
code and fails if something else comes out. If the check is new, proto/PROTOCOL.md needs its row too.

**Any other vector** without a round is an entry of `VECTORS` at the end of its module: name, title, section of the
specification, and the function that makes the content. A new kind needs a reader in
`tests/conformance/against_code.py`, and where the specification alone says what must come out, one in
`tests/conformance/against_specification.py`. `needs.py` says what a program must have for the kind to concern it, and
its schema is made from the vectors.

Then run `make vectors` and the tests in `tests/conformance`, and commit the code with the files. Randomness comes from
`fixtures`, whose values are hashes of labels: a vector comes out the same byte for byte wherever it is made.
"""
