"""What `secagg bench homomorphic` prints: the timings of `secagg.tools.bench.homomorphic` beside their targets."""

from collections.abc import Callable, Mapping
from typing import Final

from secagg.lattice.parameters import Custody, Scheme
from secagg.tools.bench.homomorphic import Figures, run
from secagg.tools.bench.machine import describe
from secagg.tools.bench.report import Figure, Report, Section, Target, at_least, at_most

Targets = Mapping[str, Target]

# For a million values of 16 bits on one core.
_SEEDED: Final[Mapping[Scheme, Targets]] = {
    Scheme.CKKS: {
        "encrypt_and_pack_s": at_most(0.40),
        "bytes_per_value": at_most(7.0),
        "coordinator_s": at_most(0.025),
        "decrypt_and_decode_s": at_most(0.15),
        "participant_speedup": at_least(3),
        "coordinator_speedup": at_least(20),
        "fewer_bytes_ratio": at_least(8),
    },
    Scheme.BFV: {
        "encrypt_and_pack_s": at_most(0.25),
        "bytes_per_value": at_most(3.9),
        "coordinator_s": at_most(0.010),
        "decrypt_and_decode_s": at_most(0.15),
        "participant_speedup": at_least(3),
        "coordinator_speedup": at_least(20),
        "fewer_bytes_ratio": at_least(14),
    },
}
_JOINT: Final[Mapping[Scheme, Targets]] = {
    Scheme.CKKS: {},
    Scheme.BFV: {
        "encrypt_and_pack_s": at_most(0.35),
        "partial_s": at_most(0.25),
        "bytes_per_value": at_most(26),
    },
}


def measure(values: int, repeat: int, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Time everything; see `secagg.tools.bench.homomorphic.run`.

    Raises:
        MissingExtraError: TenSEAL is not installed.
        LocalError: a sum is not exact.
    """
    machine = describe()
    progress("homomorphic sums, beside TenSEAL")
    return report(run(values, repeat), machine)


def report(found: Figures, machine: dict[str, str | int | float]) -> Report:
    """What `run` found, as sections with targets."""
    sections = [_tenseal(found["tenseal"])]
    setting = {name: found[name] for name in ("values", "value_bits", "n_max", "repeat")}
    for scheme in Scheme:
        of_scheme = found[scheme.value]
        sections += [
            _seeded(scheme, of_scheme[Custody.PARTICIPANTS.value]),
            _joint(scheme, of_scheme[Custody.THRESHOLD.value]),
        ]
        for custody in Custody:
            setting[f"{scheme.value}_{custody.value}"] = _profile(of_scheme[custody.value])
    return Report("homomorphic", machine, setting, tuple(sections))


def _profile(found: Figures) -> str:
    primes = " ".join(map(str, found["prime_bits"]))
    return f"N {found['ring_degree']}, primes of {primes} bits"


def _tenseal(found: Figures) -> Section:
    figures = (
        Figure("tenseal_encrypt_and_serialize_s", found["encrypt_and_serialize_s"]),
        Figure("tenseal_parse_and_add_s", found["parse_and_add_s"], note="at the coordinator, per participant"),
        Figure("tenseal_decrypt_s", found["decrypt_s"]),
        Figure("tenseal_bytes_per_value", found["bytes_per_value_up"]),
    )
    title = f"TenSEAL's CKKS vectors as in its tutorials, {found['ring_degree']} {found['prime_bits']}"
    return Section("tenseal", title, figures)


def _seeded(scheme: Scheme, found: Figures) -> Section:
    against = found["against_tenseal"]
    coordinator = found["unpack_check_fold_s"] + found["expand_c1_per_participant_s"]
    told = {
        "encrypt_and_pack_s": (found["encrypt_and_pack_s"], ""),
        "encrypt_and_pack_in_worker_s": (found["encrypt_and_pack_in_worker_s"], "as participants do, wall clock"),
        "bytes_per_value": (found["bytes_per_value_up"], "up; plain float32 is 4"),
        "coordinator_s": (coordinator, "per participant: unpack, check, fold, and expand c1"),
        "unpack_check_fold_s": (found["unpack_check_fold_s"], "the part of it that runs while inputs come in"),
        "decrypt_and_decode_s": (found["decrypt_and_decode_s"], ""),
        "participant_speedup": (against["participant"], "against TenSEAL"),
        "coordinator_speedup": (against["coordinator"], "against TenSEAL"),
        "fewer_bytes_ratio": (against["bytes"], "against TenSEAL"),
    }
    title = f"{scheme.name}, key with the participants"
    return _section(scheme.value, title, told, _SEEDED[scheme])


def _joint(scheme: Scheme, found: Figures) -> Section:
    told = {
        "key_share_s": (found["key_share_s"], ""),
        "key_share_bytes": (found["key_share_bytes"], "up; as many down from every other participant"),
        "encrypt_and_pack_s": (found["encrypt_and_pack_s"], ""),
        "unpack_check_fold_s": (found["unpack_check_fold_s"], "coordinator, per participant"),
        "partial_s": (found["partial_s"], "partial decryption, smudged"),
        "combine_s": (found["combine_s"], "coordinator, per partial decryption"),
        "decode_s": (found["decode_s"], "coordinator, once"),
        "bytes_per_value": (found["bytes_per_value_up"], "up: ciphertext and partial decryption"),
        "down_bytes_per_value": (found["c1_bytes_per_value_down"], "c1 of the sum"),
    }
    title = f"{scheme.name}, key shared among the participants (threshold custody: experimental)"
    return _section(f"{scheme.value}_threshold", title, told, _JOINT[scheme])


def _section(name: str, title: str, told: Mapping[str, tuple[float, str]], targets: Targets) -> Section:
    figures = (Figure(f"{name}_{key}", value, targets.get(key), note) for key, (value, note) in told.items())
    return Section(name, title, tuple(figures))
