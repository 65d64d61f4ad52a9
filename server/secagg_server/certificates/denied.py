"""Who may not take part, whatever certificate they have: the operator's deny list.

A line of the file names one of these; what stands behind a `#` is a remark:

    participant clinic-7            # left the study
    organisation Clinic Seven
    organisation "Ward #7"          # a name with a # in it
    certificate 5d41…               # SHA-256 over the certificate, DER, as `secagg ca show --json` prints it
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from secagg.crypto.identity import is_organisation, is_participant_id
from secagg.errors import AuthenticationError, IdentityError

_FINGERPRINT: Final = re.compile("[0-9a-f]{64}")

_QUOTED: Final = re.compile(r'(organisation) +"(.*)"\s*(?:#.*)?')
_GLUED: Final = re.compile(r"organisation .*#\S")
"""What may be a remark, and may be the rest of a name."""


@dataclass(frozen=True, slots=True)
class DenyList:
    """The names on a list. Nobody is on an empty one.

    Attributes:
        participants: ids.
        organisations: whose participants are all refused.
        certificates: SHA-256 fingerprints, in hexadecimal digits.
    """

    participants: frozenset[str] = frozenset()
    organisations: frozenset[str] = frozenset()
    certificates: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, text: str) -> Self:
        """The list of a file.

        Raises:
            IdentityError: a line names nobody; a list that was half understood would let somebody in.
        """
        found: dict[str, set[str]] = {kind: set() for kind in _KINDS}
        for number, line in enumerate(text.splitlines(), 1):
            kind, name = _read(line.strip(), number)
            if not kind:
                continue
            if kind not in _KINDS or not _KINDS[kind](name):  # check: whole-deny-list
                raise IdentityError(
                    f"line {number} of the deny list names nobody: write participant ID, organisation NAME or "
                    "certificate FINGERPRINT"
                )
            found[kind].add(name)
        return cls(*(frozenset(found[kind]) for kind in _KINDS))

    def check(self, participant: str, organisation: str, fingerprint: str) -> None:
        """Refuse who is on the list.

        Raises:
            AuthenticationError: says by which name.
        """
        for named, kind, name in (
            (participant in self.participants, "participant", participant),
            (organisation in self.organisations, "organisation", organisation),
            (fingerprint in self.certificates, "certificate", fingerprint[:16]),
        ):
            if named:  # check: not-denied
                raise AuthenticationError(
                    f"this coordinator's deny list has {kind} {name}; its operator can say why", culprit=participant
                )


def _read(line: str, number: int) -> tuple[str, str]:
    """Kind and name of a line; both are empty where it has a remark alone."""
    quoted = _QUOTED.fullmatch(line)
    if quoted is not None:
        return quoted[1], quoted[2]
    if _GLUED.match(line):  # check: remark-or-name
        raise IdentityError(
            f'line {number} of the deny list may mean a name with a # in it: write organisation "NAME", or a space '
            "behind the # of a remark"
        )
    kind, _, name = line.partition("#")[0].strip().partition(" ")
    return kind, name.strip().lower() if kind == "certificate" else name.strip()


_KINDS: Final[Mapping[str, Callable[[str], object]]] = {
    "participant": is_participant_id,
    "organisation": is_organisation,
    "certificate": _FINGERPRINT.fullmatch,
}
