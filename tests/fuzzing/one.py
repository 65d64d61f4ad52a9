"""`python -m tests.fuzzing.one TARGET …`: atheris on one target, which ends the process. The rest is for libFuzzer."""

import sys

import atheris  # type: ignore[import-untyped]  # in build/fuzz alone

with atheris.instrument_imports(include=["secagg", "secagg_client", "secagg_server"]):
    from tests.fuzzing.targets import targets


def main() -> None:
    """The command."""
    target = targets()[sys.argv[1]]
    tuple(target.seeds())  # what is made once is made here, and not in the time of the first input

    def one_input(data: bytes) -> None:
        target.run(data)

    again = (
        f"{sys.executable} -m {__spec__.name} {target.name}"  # how libFuzzer starts us for each input that it merges
    )
    atheris.Setup([again, *sys.argv[2:]], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
