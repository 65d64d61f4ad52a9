"""The rounds that are open or over: `registry` opens and finds them, `hosted` is one of them while it runs, and
`grouped` is a round in groups. Whether a task may still spend privacy is decided in `secagg.programs.ledgers`.
"""
