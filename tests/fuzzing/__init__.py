"""Coverage-guided fuzzing: bytes that a tool grows until they reach every branch of what reads them.

`targets.py` lists what is fuzzed. `python -m tests.fuzzing` runs atheris on it, in the environment that `make fuzz`
makes. `corpus/` keeps the inputs that reached something new; `tests/unit/test_fuzzing.py` runs every one of them.
"""
