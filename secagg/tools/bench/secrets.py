"""Shares, agreement, sealing and signatures: the part of a round that grows with the cohort and not with the model."""

from datetime import UTC, datetime
from typing import Final

from secagg import roster as rosters
from secagg.config import ThreatModel
from secagg.crypto import signing
from secagg.crypto.agreement import KeyPair
from secagg.crypto.rng import SeededRng
from secagg.crypto.secret import Secret
from secagg.crypto.shamir import SECRET_SIZE, Decoder, share
from secagg.errors import LocalError
from secagg.masked import shares
from secagg.messages import Index
from secagg.rounds.checked_roster import verify_members
from secagg.tools.bench.cohort import NOW, SEED, Cohort, bench_config
from secagg.tools.bench.encoding import sample_update
from secagg.tools.bench.measure import seconds_each, take_turns
from secagg.tools.bench.report import Figure, Section, at_most

CALLS: Final = 50
"""Calls of a short operation that are timed together."""

AIM_HOLDERS: Final = 100
"""The target of sharing keys speaks of so many members."""


def measure(holders: int, threshold: int, repeats: int) -> Section:
    """Times for `holders` participants of whom `threshold` reconstruct, in the active threat model where it matters."""
    figures = (
        *_shamir(holders, threshold, repeats),
        *_pairwise(repeats),
        *_roster(holders, threshold, repeats),
    )
    return Section("secrets", f"Shares, keys and signatures (n = {holders}, t = {threshold})", figures)


def _shamir(holders: int, threshold: int, repeats: int) -> tuple[Figure, ...]:
    rng = SeededRng(SEED)
    mask_key, seed = Secret(rng.token(SECRET_SIZE)), Secret(rng.token(SECRET_SIZE))
    indices = [Index(i) for i in range(1, holders + 1)]
    right = {x: int.from_bytes(s.expose(), "big") for x, s in share(seed, threshold, indices, rng).items()}
    liars = (holders - threshold) // 2
    wrong = {x: y ^ 1 if x <= liars else y for x, y in right.items()}
    decoder = Decoder(indices, threshold)

    def recover(values: dict[int, int], culprits: int) -> None:
        found = decoder.recover(values, lambda secret: secret == seed)
        if found is None or found.secret != seed or len(found.wrong) != culprits:
            raise LocalError("a reconstructed secret is not the one that was shared")

    turns = take_turns(
        {
            "split": lambda: shares.split(mask_key, seed, threshold, indices, rng),
            "decoder": lambda: Decoder(indices, threshold),
            "recover": lambda: recover(right, 0),
            "correct": lambda: recover(wrong, liars),
        },
        repeats,
    )
    return (
        Figure("share_both_secrets_s", turns.median("split"), at_most(0.020), "both secrets among all holders"),
        Figure("prepare_reconstruction_s", turns.median("decoder"), note="once for a set of holders"),
        Figure("reconstruct_s", turns.median("recover"), note="each secret; all shares checked against each other"),
        Figure("reconstruct_with_wrong_shares_s", turns.median("correct"), note=f"{liars} wrong shares found, named"),
    )


def _pairwise(repeats: int) -> tuple[Figure, ...]:
    cohort = Cohort.gather(bench_config(3, 64, threat_model=ThreatModel.ACTIVE))
    own, peer, member = cohort.own, cohort.others[0], cohort.roster.members[1]
    round_, name = own.membership.round, own.membership.participant_id
    pair = shares.SharePair(Secret(bytes(33)), Secret(bytes(33)))
    sealed = shares.seal(round_, own.channel, name, member, pair)
    identity, message = own.membership.required_credentials.identity, bytes(256)
    signature = identity.sign(message)
    public_key = rosters.verify_member(
        round_, own.membership.required_credentials.trust, cohort.roster.members[0], datetime.fromtimestamp(NOW, UTC)
    ).public_key
    return (
        Figure(
            "make_key_pair_s", seconds_each(lambda: KeyPair.generate(own.membership.rng), CALLS, repeats), note="X25519"
        ),
        Figure(
            "agree_s",
            seconds_each(lambda: own.mask.agree(peer.mask.public, peer="peer"), CALLS, repeats),
            note="per pair",
        ),
        Figure(
            "seal_share_s",
            seconds_each(lambda: shares.seal(round_, own.channel, name, member, pair), CALLS, repeats),
            note="per neighbour: agreement, HKDF, AES-GCM",
        ),
        Figure(
            "open_share_s",
            seconds_each(
                lambda: shares.open_sealed(
                    round_, peer.channel, cohort.roster.members[0], member.participant_id, sealed
                ),
                CALLS,
                repeats,
            ),
            note="per neighbour",
        ),
        Figure("sign_s", seconds_each(lambda: identity.sign(message), CALLS, repeats), note="ECDSA P-256"),
        Figure(
            "verify_signature_s",
            seconds_each(lambda: signing.verify(public_key, message, signature, culprit=None), CALLS, repeats),
            note="per member",
        ),
    )


def _roster(holders: int, threshold: int, repeats: int) -> tuple[Figure, ...]:
    cohort = Cohort.gather(bench_config(holders, 64, threat_model=ThreatModel.ACTIVE, threshold=threshold))
    unsigned = Cohort.gather(bench_config(holders, 64, threat_model=ThreatModel.SEMI_HONEST, threshold=threshold))
    aim = at_most(0.0086) if holders == AIM_HOLDERS else None
    own, roster = cohort.own, cohort.roster
    config = own.membership.round.config
    vector = config.code.encode(config.schema.check(sample_update(64)), 1, Secret(bytes(32)))
    turns = take_turns(
        {
            "check": lambda: rosters.check(roster, own.membership.round, own.membership.participant_id, own.keys),
            "verify": lambda: verify_members(own.membership, roster, NOW),
            "step": lambda: cohort.share_keys(vector),
            "unsigned": lambda: unsigned.share_keys(vector),
        },
        repeats,
    )
    return (
        Figure("check_roster_s", turns.median("check"), note="order, distinct ids and keys, our own entry"),
        Figure("verify_roster_s", turns.median("verify"), note="every certificate and signature of the roster"),
        Figure(
            "share_keys_step_s",
            turns.median("step"),
            note="roster in, sealed shares out",
        ),
        Figure("share_keys_unsigned_s", turns.median("unsigned"), aim, "the same in the semi-honest threat model"),
    )
