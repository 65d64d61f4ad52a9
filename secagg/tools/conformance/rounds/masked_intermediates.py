"""Everything between the inputs and the outcome of a round, computed from the inputs alone."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.context import Round
from secagg.crypto import labels
from secagg.crypto.kdf import derive
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.crypto.transcript import frame
from secagg.encoding.packing import pack
from secagg.masked import pair_secrets, shares
from secagg.masked.masks import Mask, add_masks, pairwise_mask_key, self_mask_key
from secagg.masked.shares import SharePair
from secagg.messages import Index, Member, ParticipantId, Roster, SurvivorSet
from secagg.rounds import dealing
from secagg.rounds.graph import neighbourhoods
from secagg.tools.conformance import wire
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay.round import Replay


class Insider:
    """Knows every secret of one participant of the roster."""

    def __init__(self, replay: Replay, member: Member, roster: Roster) -> None:
        draws = replay.draws(member.participant_id)
        self.replay, self.round, self.member = replay, replay.named.of_members(rosters.roster_digest(roster)), member
        self.neighbours = neighbourhoods(self.round, len(rosters.names_of(roster))).of(member.index)
        self.name = member.participant_id
        kind = replay.config.suite.key_pairs
        self.channel, self.mask = kind.generate(draws), kind.generate(draws)
        self.seed = Secret(draws.token(32))
        holders = (*self.neighbours, member.index)
        self.pairs = shares.split(self.mask.private, self.seed, replay.config.share_threshold, holders, draws)

    def secrets(self, members: Mapping[Index, Member]) -> dict[str, Any]:
        """Keys, commitment, shares and seals."""
        signed = rosters.advertisement_to_sign(self.round.context, self.name, self.member.keys)
        return {
            "index": self.member.index,
            "advertise_keys_signed": signed if self.replay.trust is not None else b"",
            "commitment": shares.commit(self.round, self.name, self.seed),
            "shares": {
                i: {"mask_key": pair.mask_key.expose(), "self_mask_seed": pair.self_mask_seed.expose()}
                for i, pair in sorted(self.pairs.items())
            },
            "seals": {i: self._seal(members[i]) for i in self.neighbours},
        }

    def _seal(self, receiver: Member) -> dict[str, Any]:
        suite = self.replay.config.suite
        shared = self.channel.agree(receiver.keys.channel_public_key, peer=receiver.participant_id)
        ends = (self.round.seal_context, self.name.encode(), receiver.participant_id.encode())
        info = frame(labels.SHARE_SEALING, suite.name.encode(), *ends)
        kind, entry, material = dealing.masked(suite), self.entry(receiver, self.pairs[receiver.index]), shared
        if suite.hybrid:
            fresh, _ = self.replay.encapsulate(self.name)(receiver.keys.channel_public_key)
            material = Secret(fresh.expose() + shared.expose())
        told = {
            "shared_secret": shared.expose(),
            "key": derive(material, salt=self.round.round_id, info=info, size=suite.key_size).expose(),
            "digests": entry[kind.seals_size :],
        }
        if suite.hybrid:
            gave = pair_secrets.given(self.round, self.mask.private, self.name, receiver.participant_id)
            return told | {"pair_secret": gave.expose()}
        return told | {"sealed": entry[: kind.seal_size]}

    def entry(self, receiver: Member, pair: SharePair, at: Round | None = None) -> bytes:
        """What we deal to `receiver`, without a signature; in another round than ours, if `at` is one."""
        encapsulate, round_ = self.replay.encapsulate(self.name), at or self.round
        hybrid = round_.config.suite.hybrid
        gift = pair_secrets.give(round_, self.mask, self.name, receiver, encapsulate) if hybrid else None
        return shares.seal(round_, self.channel, self.name, receiver, pair, gift=gift, encapsulate=encapsulate)

    def input(self, peers: Iterable[Member]) -> dict[str, Any]:
        """The encoded update, every mask on it, and what is sent. `peers`: U2 without us."""
        config = self.replay.config
        encoded = self.replay.encoder(self.name).read(0, config.vector_len, config.ring_dtype)
        key = self_mask_key(self.round, self.name, self.seed)
        total = encoded + self._words(key)
        pairwise = {}
        for peer in peers:
            mask = self.pairwise(peer)
            words = self._words(Secret(mask["key"]))
            total = total + words if self.member.index > peer.index else total - words
            sign = "+" if self.member.index > peer.index else "-"
            pairwise[peer.index] = mask | {"sign": sign, "words": words}
        masked = total & total.dtype.type((1 << config.ring_bits) - 1)
        return {
            "encoded": encoded,
            "self_mask": {"key": key.expose(), "words": self._words(key)},
            "pairwise_masks": pairwise,
            "masked": masked,
            "packed": pack(masked, config.ring_bits),
        }

    def pairwise(self, peer: Member) -> dict[str, bytes]:
        """The secret shared with `peer` and the key of the mask."""
        other = peer.participant_id
        if self.replay.config.suite.hybrid:
            theirs = Secret(self.replay.random(other)["mask_private_key"])
            gave = pair_secrets.given(self.round, self.mask.private, self.name, other)
            shared = pair_secrets.both(self.name, gave, other, pair_secrets.given(self.round, theirs, other, self.name))
        else:
            shared = self.mask.agree(peer.keys.mask_public_key, peer=other)
        key = pairwise_mask_key(self.round, self.name, other, shared)
        return {"shared_secret": shared.expose(), "key": key.expose()}

    def _words(self, key: Secret) -> Words:
        config = self.replay.config
        words: Words = np.zeros(config.vector_len, config.ring_dtype)
        add_masks(words, 0, [Mask(key, negative=False)], config.suite)
        return words


def shown_to_all(vector: Document) -> Roster:
    """The roster of a round. With a sparse graph each member was shown some of the entries."""
    known = vector["messages"]
    if "roster" in known:
        roster: Roster = wire.decode(known["roster"])
        return roster
    rosters_shown: list[Roster] = [wire.decode(message) for slug, message in known.items() if slug.endswith("/roster")]
    members = {m.index: m for shown in rosters_shown for m in shown.members}
    return Roster(tuple(members[i] for i in sorted(members)), rosters_shown[0].listing)


def intermediates(vector: Document, replay: Replay) -> dict[str, Any]:
    """By participant what it computes, and what the coordinator reconstructs."""
    roster = shown_to_all(vector)
    sets: SurvivorSet = wire.decode(vector["messages"]["survivors"])
    members = {m.index: m for m in roster.members}
    insiders = {i: Insider(replay, m, roster) for i, m in members.items()}
    shared = sorted({*sets.survivors, *sets.dropped})  # U2
    by_name = {insider.name: insider.secrets(members) for insider in insiders.values()}
    inputs = {i: insiders[i].input(members[j] for j in shared if j in insiders[i].neighbours) for i in shared}
    for i in shared:
        by_name[insiders[i].name]["input"] = inputs[i]
    mask = replay.config.ring_dtype.type((1 << replay.config.ring_bits) - 1)
    masked_sum = np.sum([inputs[i]["masked"] for i in sets.survivors], axis=0, dtype=replay.config.ring_dtype) & mask
    result = {
        "roster_digest": rosters.roster_digest(roster),
        "participants": by_name,
        "masked_sum": masked_sum,
        "unmasking": _unmasking(vector, replay, insiders, sets),
    }
    if replay.config.threat_model is ThreatModel.ACTIVE:
        result["consistency_check_signed"] = rosters.survivors_to_sign(
            replay.named.input_context, rosters.roster_digest(roster), sets
        )
    return result


def _unmasking(
    vector: Document, replay: Replay, insiders: Mapping[Index, Insider], sets: SurvivorSet
) -> dict[str, dict[ParticipantId, Any]]:
    """What the coordinator reconstructs: from whose shares, which secret, which masks."""
    answered = [
        Index(next(i for i, insider in insiders.items() if insider.name == step["sender"]))
        for step in vector["steps"]
        if step["do"] == "receive" and step["at"] == "coordinator" and step["message"].endswith("/unmask")
    ]
    return {
        "self_mask_seeds": {
            insiders[owner].name: {
                "shares": {
                    h: insiders[owner].pairs[h].self_mask_seed.expose()
                    for h in sorted(answered)
                    if h in insiders[owner].pairs
                },
                "secret": insiders[owner].seed.expose(),
                "key": self_mask_key(replay.named, insiders[owner].name, insiders[owner].seed).expose(),
            }
            for owner in sets.survivors
        },
        "mask_keys": {
            insiders[owner].name: {
                "shares": {
                    h: insiders[owner].pairs[h].mask_key.expose()
                    for h in sorted(answered)
                    if h in insiders[owner].pairs
                },
                "secret": insiders[owner].mask.private.expose(),
                "pairwise_keys": {
                    i: insiders[owner].pairwise(insiders[i].member)["key"]
                    for i in sets.survivors
                    if i in insiders[owner].neighbours
                },
            }
            for owner in sets.dropped
        },
    }
