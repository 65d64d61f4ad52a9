"""The inputs that are kept: a file for each target, an input in hexadecimal digits on each line."""

from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"


def kept(name: str) -> list[bytes]:
    """The inputs of a target; none if it has no file yet."""
    file = CORPUS / f"{name}.txt"
    return [bytes.fromhex(line) for line in file.read_text().splitlines()] if file.exists() else []
