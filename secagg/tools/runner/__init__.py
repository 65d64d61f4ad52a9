"""Holds a program of anybody's to the protocol: `secagg conformance`.

The program plays one participant. It reads one JSON object from each line of its standard input, and answers each with
one line on its standard output (docs/conformance.md has all of them). The runner plays the coordinator.

    lines.py          what is asked and answered, and what an answer may be
    program.py        the program's process: starts it, asks it, waits no longer than a limit
    cases.py          one case and its verdict; plays many
    needs.py          what a program must have for a round
    requests.py       the requests, made from a round as vectors state it
    from_vectors.py   the cases of proto/vectors that one participant can play
    live.py           a round with programs in it that draw their own random values
    settings.py       such rounds that are no vectors: of integers, and of one group
    whole.py          the cases that are whole live rounds
    moved.py          the cases in which another process goes on from a saved state
    lies.py           the cases in which the coordinator of a live round lies
    earlier_sums.py   the cases in which a program remembers sums from before
    results.py        the cases after a live round: receipts, signatures of the result, sums
    over_grpc/        a coordinator that lies to a program which takes part over gRPC by itself
    every.py          all of these cases
    live_coordinator/ participants that misbehave, for a coordinator that runs
    report.py         the verdicts as JSON, as JUnit's XML, and as a badge
    expected.py       the list of cases that are known to fail
    adapter.py        secagg's own participant as such a program; an example to copy

A case is found by its number: the name of its vector's file, with the participant behind it for a whole round; or
`live-` or `lie-` and what happens; or `call-` and three digits over gRPC, and `join-` and three digits on a
coordinator.
"""
