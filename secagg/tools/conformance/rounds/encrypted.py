"""Whole homomorphic rounds, one for each scheme and custody, with a dropout in every phase."""

from collections.abc import Iterator
from typing import Any

from secagg.config import RoundConfig, ThreatModel
from secagg.encoding.fixedpoint import FixedPoint
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.messages import Phase
from secagg.phases import phases
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.document import Document, document, plain
from secagg.tools.conformance.rounds import encrypted_intermediates
from secagg.tools.conformance.rounds.inputs import ARRIVAL, NOTE, Attendance, round_config, round_inputs
from secagg.tools.conformance.rounds.recorder import finished

RECORDED_ONE = "ginkgo"
"""Whose ciphertext TenSEAL made in the rounds of custody `threshold`; the others' follow from seeds."""

_DEALT = Attendance.without(
    *("fir", "hazel", "iris"),
    leaves_first="cedar",
    SHARE_KEYS="Aster",  # the first of the roster: the next deals the key
    CONFIRM_KEY="elm",
    ENCRYPTED_INPUT="juniper",
    REPORT_SUM="birch",
    RELEASE_SUM="amber-10",  # asked first
)
_JOINT_DROPS = {
    Phase.SHARE_KEYS: "cedar",
    Phase.ENCRYPTED_INPUT: "elm",
    Phase.CONSISTENCY_CHECK: "hazel",
    Phase.PARTIAL_DECRYPTION: "fir",
    Phase.RECOVERY_CHECK: "juniper",
    Phase.RECOVER_SEEDS: "iris",
}
_JOINT = Attendance((*ARRIVAL, "larch", "maple", "Nutmeg"), "birch", _JOINT_DROPS)

NAMES = {
    (Scheme.BFV, Custody.PARTICIPANTS): "round-bfv-participants",
    (Scheme.CKKS, Custody.PARTICIPANTS): "round-ckks-participants",
    (Scheme.BFV, Custody.THRESHOLD): "round-bfv-threshold",
    (Scheme.CKKS, Custody.THRESHOLD): "round-ckks-threshold",
}


def vectors() -> Iterator[tuple[str, Document]]:
    """File name and content."""
    for (scheme, custody), name in NAMES.items():
        vector, attendance = draft(scheme, custody)
        vector["intermediates"] = plain(encrypted_intermediates.of(vector, finished(vector, attendance)))
        yield name, vector


def draft(scheme: Scheme, custody: Custody) -> tuple[Document, Attendance]:
    """A round's inputs, and who plays."""
    name, config = NAMES[scheme, custody], _config(scheme, custody)
    attendance = _attendance(config)
    vector = document(
        "round",
        f"A round in {scheme.name}, custody {custody.value}, with a dropout in each phase",
        "Homomorphic rounds",
        note=NOTE,
        **round_inputs(name, config, attendance),
    )
    for who in attendance.everyone:
        vector["participants"][who]["encryption"] = plain(_encryption(name, who))
    return vector, attendance


def recording_of(name: str) -> str:
    """The file that holds a round's recorded ciphertexts."""
    return name.replace("round-", "recorded-")


def recordings() -> set[str]:
    """The files that hold recorded ciphertexts."""
    stated = {
        person["encryption"].get("recorded")
        for scheme, custody in NAMES
        for person in draft(scheme, custody)[0]["participants"].values()
    }
    return stated - {None}


def _attendance(config: RoundConfig) -> Attendance:
    if config.homomorphic is not None and config.homomorphic.custody is Custody.THRESHOLD:
        return _JOINT
    drops = {phase: name for phase, name in _DEALT.drops.items() if phase in phases(config)}
    return Attendance(_DEALT.everyone, _DEALT.leaves_first, drops)


def _config(scheme: Scheme, custody: Custody) -> RoundConfig:
    joint = custody is Custody.THRESHOLD
    people, encoding = len((_JOINT if joint else _DEALT).everyone), FixedPoint(1.0, 8, 1000)
    return round_config(
        f"{scheme.value}-{custody.value}",
        encoding=encoding,
        max_participants=people,
        threshold=8 if joint else 3,
        max_colluding=0,
        threat_model=ThreatModel.SEMI_HONEST,
        release_to_coordinator=joint or scheme is Scheme.BFV,
        homomorphic=find_profile(scheme, custody, people, encoding.coordinate_bits),
    )


def _encryption(name: str, who: str) -> dict[str, Any]:
    """Where a participant's ciphertext comes from."""
    if name != NAMES[Scheme.CKKS, Custody.THRESHOLD] and ("participants" in name or who == RECORDED_ONE):
        return {"recorded": recording_of(name)}
    return {draw: fixtures.seed(f"{draw} of {who} in {name}") for draw in ("u", "e0", "e1")}
