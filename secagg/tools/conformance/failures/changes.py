"""The words for what is changed in an honest message. An `Edit` makes the altered value from the honest one.

`put(payload=cut)` reads: the message with its payload cut. Edits nest: `put(sealed=entry(PEER, flipped))`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from secagg.encoding.packing import pack, unpack
from secagg.messages import Index, Member, Roster, SurvivorSet
from secagg.tools.conformance import fixtures
from secagg.tools.conformance.failures.script import Script
from secagg.tools.conformance.rounds.inputs import AUTHORITY, organisation

Edit = Callable[[Any, Script], Any]
"""The altered value, from the honest one and what is known of the round."""

FIRST, STRANGER = "the first", "a stranger"
"""In place of a name: the first entry of a message, and an index that the roster does not have."""


def changed(value: Any, honest: Any, script: Script) -> Any:
    """`value`, or what it makes of the honest one if it is an edit."""
    return value(honest, script) if callable(value) else value


def same(honest: Any, script: Script) -> Any:
    """The honest value, unchanged."""
    return honest


def put(**fields: Any) -> Edit:
    """Other values, or edits, for some fields of a message."""
    return lambda honest, script: replace(
        honest, **{name: changed(value, getattr(honest, name), script) for name, value in fields.items()}
    )


def honest(slug: str) -> Edit:
    """Another message of the honest round."""
    return lambda _, script: script.read(slug)


def then(*edits: Edit) -> Edit:
    """One edit after the other."""

    def edit(value: Any, script: Script) -> Any:
        for step in edits:
            value = step(value, script)
        return value

    return edit


# --- bytes --------------------------------------------------------------------------------------------------------


def cut(data: bytes, _: Script) -> bytes:
    """The last byte is missing."""
    return data[:-1]


def flipped(data: bytes, _: Script) -> bytes:
    """The lowest bit of the first byte is changed."""
    return bytes([data[0] ^ 1]) + data[1:]


def top_bit(data: bytes, _: Script) -> bytes:
    """The highest bit of the last byte is set."""
    return data[:-1] + bytes([data[-1] | 0x80])


def zeros(data: bytes, _: Script) -> bytes:
    """As many zeros as there were bytes."""
    return bytes(len(data))


def before(size: int) -> Edit:
    """Everything behind the first `size` bytes is missing."""
    return lambda data, _: data[:size]


def first_residue(value: int | None) -> Edit:
    """Packed residues with another first one; the prime itself, which is no residue, if None."""

    def edit(packed: bytes, script: Script) -> bytes:
        profile = script.replay.profile
        residues = unpack(packed, len(packed) * 8 // profile.prime_bits, profile.prime_bits)
        residues[0] = profile.primes[0] if value is None else value
        return pack(residues, profile.prime_bits)

    return edit


def chunks(edit: Edit) -> Edit:
    """The only chunk of a vector is changed; the sums of these rounds have one."""
    return lambda honest, script: (edit(honest[0], script),)


# --- entries by index ---------------------------------------------------------------------------------------------


def _place(name: str, entries: Any, script: Script) -> Index:
    if name == FIRST:
        index: Index = next(iter(entries))
        return index
    return Index(len(script.members) + 1) if name == STRANGER else script.index(name)


def entry(name: str, value: Any) -> Edit:
    """Another value, or an edit, for one entry."""

    def edit(entries: Mapping[Index, Any], script: Script) -> dict[Index, Any]:
        at = _place(name, entries, script)
        return {**entries, at: changed(value, entries.get(at), script)}

    return edit


def every_entry(value: Edit) -> Edit:
    """The same edit for every entry."""
    return lambda entries, script: {at: value(honest, script) for at, honest in entries.items()}


def copied(source: str, to: str) -> Edit:
    """The entry of one stands for another's too."""
    return lambda entries, script: {**entries, _place(to, entries, script): entries[_place(source, entries, script)]}


def without(*names: str) -> Edit:
    """Entries, or indices of a list, left out."""

    def edit(entries: Any, script: Script) -> Any:
        gone = {_place(name, entries, script) for name in names}
        if isinstance(entries, Mapping):
            return {at: value for at, value in entries.items() if at not in gone}
        return tuple(at for at in entries if at not in gone)

    return edit


def also(*names: str) -> Edit:
    """More indices in a list."""
    return lambda indices, script: tuple(sorted({*indices, *(_place(name, indices, script) for name in names)}))


def few(count: int) -> Edit:
    """All entries but the first `count` are missing."""
    return lambda entries, _: dict(list(entries.items())[:count])


def dropped(*names: str) -> Edit:
    """Survivors who are called dropped."""
    return put(survivors=without(*names), dropped=also(*names))


def only(*names: str) -> Edit:
    """These alone are called survivors, and everybody else dropped."""

    def edit(sets: SurvivorSet, script: Script) -> SurvivorSet:
        kept = {script.index(name) for name in names}
        return SurvivorSet(tuple(sorted(kept)), tuple(sorted({*sets.survivors, *sets.dropped} - kept)))

    return edit


# --- rosters and keys ---------------------------------------------------------------------------------------------


def member(name: str, edit: Edit | None = None, **keys: Any) -> Edit:
    """A roster with changed keys of one member: an edit of all that it advertised, or single fields as in `put`."""
    change = edit or put(**keys)
    return lambda roster, script: Roster(
        tuple(replace(m, keys=change(m.keys, script)) if m.participant_id == name else m for m in roster.members)
    )


def members(choose: Callable[[list[Member]], list[Member]]) -> Edit:
    """A roster of other members, numbered anew."""
    return lambda roster, _: Roster(
        tuple(replace(m, index=Index(i)) for i, m in enumerate(choose(list(roster.members)), start=1))
    )


def key_of(name: str, field: str) -> Edit:
    """What that member advertised in that field."""
    return lambda _, script: getattr(script.members[name].keys, field)


def agreed(peer: str) -> Edit:
    """A key that nobody here has: what somebody agrees on with `peer`; any 32 bytes would do."""
    return lambda _, s: s.insider("fir").mask.agree(s.members[peer].keys.mask_public_key, peer=peer).expose()


def certified(name: str, *, issuer: str = AUTHORITY, days: int = 365) -> Edit:
    """A certificate of that participant by another CA, or one that has expired."""
    return lambda *_: (fixtures.certificate(name, organisation(name), issuer, days=days),)
