"""Every input that fuzzing kept is taken or ends with a named error, and a fault that fuzzing looks for is one."""

import pytest

from secagg.errors import RemoteError
from tests.fuzzing.corpus import CORPUS, kept
from tests.fuzzing.targets import Target, cut, joined, targets


@pytest.mark.parametrize("target", targets().values(), ids=targets())
def test_every_input_that_is_kept_is_taken_or_ends_with_a_named_error(target: Target) -> None:
    seeds, found = [*target.seeds()], kept(target.name)
    assert found
    assert {target.run(data) for data in seeds} == {True}, "a seed is a good input"
    for data in found:
        target.run(data)


def test_no_file_of_the_corpus_is_without_a_target() -> None:
    assert {file.stem for file in CORPUS.iterdir()} == set(targets())


def test_an_error_without_a_name_is_a_fault() -> None:
    def read(data: bytes) -> None:
        data.decode("ascii")

    with pytest.raises(UnicodeDecodeError):
        Target("broken", lambda: (), read).run(b"\xff")
    assert not Target("named", lambda: (), read, (UnicodeDecodeError,)).run(b"\xff")
    assert issubclass(RemoteError, Target("broken", lambda: (), read).named)


@pytest.mark.parametrize("parts", [[], [b""], [b"a"], [b"a", b""], [b"", b"bc", b"d"]])
def test_parts_come_back(parts: list[bytes]) -> None:
    assert cut(joined(parts)) == parts
