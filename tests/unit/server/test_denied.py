"""The deny list: its lines, and who is on it."""

import pytest
from secagg_server.certificates.denied import DenyList

from secagg.errors import AuthenticationError, IdentityError
from secagg.tools.redteam.self_test.patches import without_check

PRINT = "5d" * 32


def test_lines_of_all_kinds_and_remarks() -> None:
    denied = DenyList.parse(
        f"# gone\n\nparticipant clinic-7  # left\n  organisation Clinic  Seven\ncertificate {PRINT.upper()}\n"
    )
    assert denied == DenyList(frozenset({"clinic-7"}), frozenset({"Clinic  Seven"}), frozenset({PRINT}))
    assert DenyList.parse("") == DenyList()


@pytest.mark.parametrize(
    "line", ["clinic-7", "participant", "participant a b", "organisation", "certificate 5d", "Participant a", "user a"]
)
def test_a_line_that_names_nobody_is_refused(line: str) -> None:
    with pytest.raises(IdentityError, match="line 2 of the deny list names nobody: write participant ID, organisation"):
        DenyList.parse(f"# first\n{line}\n")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("participant a", "has participant a;"),
        ("organisation north", "has organisation north;"),
        (f"certificate {PRINT}", f"has certificate {PRINT[:16]};"),
    ],
)
def test_who_is_on_the_list_is_refused_by_name(line: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = DenyList.parse(line)
    with pytest.raises(AuthenticationError, match=told) as refused:
        denied.check("a", "north", PRINT)
    assert refused.value.culprit == "a"
    denied.check("b", "south", "00" * 32)
    without_check(monkeypatch, DenyList, "check", "not-denied")
    denied.check("a", "north", PRINT)
