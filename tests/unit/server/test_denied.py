"""The deny list: its lines, and who is on it."""

import pytest
from secagg_server.certificates import denied
from secagg_server.certificates.denied import DenyList

from secagg.errors import AuthenticationError, IdentityError
from secagg.tools.redteam.self_test.patches import without_check

PRINT = "5d" * 32


def test_lines_of_all_kinds_and_remarks() -> None:
    found = DenyList.parse(
        f"# gone\n\nparticipant clinic-7  # left\n  organisation Clinic  Seven\ncertificate {PRINT.upper()}\n"
    )
    assert found == DenyList(frozenset({"clinic-7"}), frozenset({"Clinic  Seven"}), frozenset({PRINT}))
    assert DenyList.parse("") == DenyList()


@pytest.mark.parametrize(
    "line", ["clinic-7", "participant", "participant a b", "organisation", "certificate 5d", "Participant a", "user a"]
)
def test_a_line_that_names_nobody_is_refused(line: str) -> None:
    with pytest.raises(IdentityError, match="line 2 of the deny list names nobody: write participant ID, organisation"):
        DenyList.parse(f"# first\n{line}\n")


@pytest.mark.parametrize("line", ['organisation "Ward #7"', 'organisation  "Ward #7" # closed'])
def test_a_name_with_a_hash_in_it_stands_in_quotation_marks(line: str) -> None:
    assert DenyList.parse(line).organisations == {"Ward #7"}


def test_what_may_be_a_remark_or_the_rest_of_a_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(IdentityError, match="line 1 of the deny list may mean a name with a # in it"):
        DenyList.parse("organisation Ward #7")
    assert DenyList.parse("organisation Ward # 7 of them").organisations == {"Ward"}
    without_check(monkeypatch, denied, "_read", "remark-or-name")
    assert DenyList.parse("organisation Ward #7").organisations == {"Ward"}  # another one is kept out


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("participant a", "has participant a;"),
        ("organisation north", "has organisation north;"),
        (f"certificate {PRINT}", f"has certificate {PRINT[:16]};"),
    ],
)
def test_who_is_on_the_list_is_refused_by_name(line: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = DenyList.parse(line)
    with pytest.raises(AuthenticationError, match=told) as refused:
        listed.check("a", "north", PRINT)
    assert refused.value.culprit == "a"
    listed.check("b", "south", "00" * 32)
    without_check(monkeypatch, DenyList, "check", "not-denied")
    listed.check("a", "north", PRINT)
