"""Everything secagg raises. Who is at fault decides the class.

`LocalError`: our own caller, configuration or machine. `RemoteError`: a peer broke the protocol, and
`culprit` names it where that is known. A dropout is neither: it is an event.
"""

from dataclasses import dataclass
from enum import Enum
from typing import Any, Self


class SecAggError(Exception):
    """Base of every error that secagg raises on purpose. When it is pickled or copied, an error keeps its class, its
    message and its attributes.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        """An exception is otherwise made again by calling its class with the message, which not every class takes."""
        return _made_again, (type(self), self.args, self.__dict__)


def printable(text: str, most: int) -> str:
    """A peer's words as they may reach a log or a terminal: one line of at most `most` characters, without control
    characters and escape sequences.
    """
    return "".join(char if char.isprintable() else "?" for char in text[:most])


class PrecisionWarning(UserWarning):
    """The rounding error of a mean may be larger than any value in it, because `max_weight` is far above the weights
    that came.

    Cause:
        `max_weight` is far above the weights of those who took part, so most of the range of a sum is never used.
    Cure:
        Lower `max_weight` to the largest weight that a participant really has, or raise `bits`.
    """


def _made_again(kind: type[SecAggError], args: tuple[object, ...], attributes: dict[str, object]) -> SecAggError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class LocalError(SecAggError):
    """The fault is on our own side: in the caller, its configuration or its machine.

    Attributes:
        mend: a command for a shell that mends it, or says more; empty if there is none. The text of the error ends with
            it.

    Cause:
        A call was made in the wrong order, or something that belongs to another round was handed in. Subclasses have
        causes of their own.
    Cure:
        Do what the message says. If it names no call of yours, report a bug.
    """

    mend: str = ""

    def __str__(self) -> str:
        """What is wrong, and the command that mends it."""
        return f"{self.wrong}; run: {self.mend}" if self.mend else self.wrong

    @property
    def wrong(self) -> str:
        """What is wrong, without the command that mends it."""
        return super().__str__()

    def mended_by(self, command: str) -> Self:
        """This error, with a command for a shell."""
        self.mend = command
        return self


class ConfigError(LocalError):
    """Parameters that are unsafe or do not fit together. The message says what to change.

    Cause:
        A value is out of range or unknown, two parameters exclude each other, an address or a folder is taken, or the
        parameters together would not protect updates as promised.
    Cure:
        Change what the message names. Nothing has begun, so the call or the start can simply be repeated.
    """


class InputError(LocalError):
    """The update cannot be encoded. Raised before anything leaves the machine.

    Attributes:
        array: name of the array that does not fit; None if the whole update is meant.
        index: index of the first value that does not fit, one number for each side of the array; None if no single
            value is meant.

    Cause:
        An array is missing, unknown, or has another shape or dtype than the task's schema; a value is NaN, infinite or
        out of the agreed range; or the weight is not a whole number from 1 to `max_weight`.
    Cure:
        Mend the step of training or of preparing data that made the value. Sit out this round if that takes longer than
        the round.
    """

    def __init__(self, message: str, *, array: str | None = None, index: tuple[int, ...] | None = None) -> None:
        super().__init__(message)
        self.array = array
        self.index = index


class BudgetExceeded(LocalError):
    """The round would cost more privacy than its task has left. Nothing was sent.

    Cause:
        With this round, the rounds of its task would cost more than the ε of the task's budget.
    Cure:
        Open the round with more noise, if the message says that some noise would fit. Otherwise the task is over: what
        was released cannot be taken back.
    """


class LedgerError(LocalError):
    """The record of what a task has spent of its privacy budget is corrupt, missing or was rolled back. No round of the
    task with noise runs until that is settled.

    Cause:
        The disk is full, a file of the ledger was deleted, changed or restored from an older copy, or the settings have
        another budget than the one that the ledger began with.
    Cure:
        Run `secagg ledger verify` on the folder, and do what the message says. If the message is about another budget,
        give the task its old one in the settings. Do not restore an older copy: what was
        released since then would be spent a second time. If the ledger cannot be mended, retire the task, because
        nobody can tell any more what its rounds cost.
    """


class StoreError(LocalError):
    """Something that a coordinator keeps on its disk cannot be written or read, or is damaged. If it belongs to a
    round, that round ends without a sum, and the others go on. If it belongs to none, the coordinator does not start.

    Cause:
        The disk is full or fails, a file of the state folder was deleted or changed, or another release of secagg
        wrote it.
    Cure:
        Do what the message says. On a full disk, make room: the next round is kept again. If the coordinator does not
        start, and the disk itself is well, restore a backup into another folder (`secagg-server restore`); do not copy
        single files back, since the coordinator would not know what was released since then.
    """


class AuditError(StoreError):
    """The coordinator's audit log is damaged, was changed, or cannot be written. A decision that cannot be written
    there is not carried out: no round is opened, and a round that runs ends without a sum.

    Cause:
        The disk is full, or a file of the log was deleted, changed or restored from an older copy.
    Cure:
        Run `secagg audit verify` on the folder: it names the entry and what is wrong with it. Keep the folder as it is,
        because it is evidence. Move it aside as a whole and start the coordinator again: it begins a new log.
    """


class MemoryFileError(LocalError):
    """The file in which a participant remembers sums that may hold its update cannot be read or written, or is damaged.
    The participant takes part in no sum until that is settled.

    Cause:
        The file is not readable or writable for this process, can be written by others, is too long, or its content is
        no memory of sums.
    Cure:
        Set the permissions that the message names. If the file is damaged, restore it from a copy, or move it away once
        no coordinator will ask again about a model that it asked about before.
    """


class SavedStateError(LocalError):
    """A saved state cannot be used: it was altered, was restored before, is older than the latest, or belongs to
    another participant, round, update, identity or version; or another process uses it, or its disk fails. The
    participant sits out that round, unless the message says how to go on; later rounds are not touched.

    Cause:
        The state was changed where it is kept, was restored once already, was saved by another version of secagg, or
        the participant's certificate or the CA was exchanged while the round ran. Or the folder of keys, or of the
        state, is not readable and writable for its owner alone, or is on a full disk. With a state folder
        (`participate(state=…)`, `--state`): a participant runs with it already; the round that is under way was joined
        for another task, model or update than this call brings; or an encrypted update was under way when the process
        ended.
    Cure:
        Do what the message says, and run again; or take part in the next round. Hand in the same update until
        `participate` returns. Keep these folders at mode 0700 and out of backups, and exchange certificates and update
        secagg between rounds. To give up a round that a state folder is in, move the folder away.
    """


class IdentityError(LocalError):
    """Our own certificate or key is missing, unreadable, expired or does not match.

    Cause:
        A file of certificate, key or CA is missing, is readable by others (a key), is damaged, has expired, is of
        another kind than ECDSA P-256, or certificate and key do not belong together.
    Cure:
        Do what the message says: `chmod 600` for a key, `secagg ca issue` for a new certificate. `secagg doctor` looks
        at all of these files, and `secagg ca show FILE` tells what one of them holds.
    """


class MissingExtraError(LocalError):
    """An optional dependency is not installed. The message holds the command that installs it from a checkout.

    Attributes:
        extra: name of the extra of the package that brings it.

    Cause:
        A feature was used whose packages are not installed.
    Cure:
        Install the extra that the message names, then start the program again.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs the extra {extra}; in a checkout of secagg: pip install '.[{extra}]'")
        self.extra = extra


class WorkerError(LocalError):
    """A process that works for this one crashed, was killed, or ran out of memory or time. Only its job is lost.

    Cause:
        The process that encrypts, or one that has participants of a simulation on a Ray cluster, ended before it
        answered. Most often the machine has too little memory for it, or something stopped it.
    Cure:
        Give the participant more memory, or lower the number of values. Take part in the next round; a new process is
        started for it. Homomorphic rounds need a system like Unix. Run a simulation again with the same seed.
    """


class ParticipationCancelled(LocalError):
    """Our own caller cancelled the participation. The coordinator was told, if it could be reached.

    Cause:
        `cancel()` or `close()` was called, Ctrl-C was pressed, or the asyncio task was cancelled.
    Cure:
        Nothing is wrong. Take part again when you want to.
    """


@dataclass(frozen=True, slots=True)
class Exhibit:
    """An entry that a participant refused: another participant dealt it, and the coordinator passed it on.

    Attributes:
        sender: the participant who dealt it, as the coordinator says.
        digest: 32 bytes, over the entry as it was received.
        public_key: the sender's, which signs all that it dealt, as an uncompressed point; empty where nothing is
            signed.
        covered: what that signature covers, up to the digests of the entries.
    """

    sender: str
    digest: bytes
    public_key: bytes = b""
    covered: bytes = b""


class RemoteError(SecAggError):
    """The fault is on the side of a peer, which sent something that the protocol or our policy does not allow.

    Attributes:
        culprit: id of a participant, or "coordinator"; None if nobody can tell who is at fault.
        exhibit: the dealt entry that the error is about, whoever is to blame for it; None if it is about something
            else.
    """

    def __init__(self, message: str, *, culprit: str | None = None) -> None:
        super().__init__(message)
        self.culprit = culprit
        self.exhibit: Exhibit | None = None

    def about(self, exhibit: Exhibit) -> Self:
        """This error, with the entry that it is about."""
        self.exhibit = exhibit
        return self


class DecodeError(RemoteError):
    """A peer sent bytes that are not a well-formed message.

    Cause:
        The peer runs another version of the protocol or a faulty program, or somebody changed the bytes.
    Cure:
        Compare the versions of both sides. If they are the same, keep the message and report it.
    """


class AuthenticationError(RemoteError):
    """A signature, commitment or certificate does not verify, or something encrypted does not decrypt.

    Cause:
        The two sides belong to different deployments, a certificate has expired or names another host or participant,
        or somebody changed a message.
    Cure:
        Run `secagg doctor` on the participant's machine: it compares CA files, names, dates and versions of both
        sides. If all of them fit, treat it as an attack: do not simply try again.
    """


class ProtocolViolation(RemoteError):
    """A peer sent a well-formed message that the protocol does not allow here.

    Cause:
        A peer has a fault or lies, two programs speak different versions of the protocol, two processes use one
        certificate in the same round, or the address belongs to another service.
    Cure:
        Do not simply try again. Look at `culprit` and at the message, and compare the versions of both sides.
    """


class PolicyViolation(RemoteError):
    """The round protects less than the participant's own policy demands.

    Cause:
        The FL server opened a round with fewer participants, less noise, another threat model, another purpose or
        another task than this participant's policy allows; or sums of one model would show the update of few
        participants.
    Cure:
        Talk to whoever opens rounds. Do not lower the policy to make the error go away. If a sum of the same model was
        released before, ask the same cohort again, or go on to the next model.
    """


class ModelMismatch(RemoteError):
    """The round is about another model than the one that we hold. To take part would spoil the sum, or would show our
    update of a model that nobody else was given.

    Cause:
        The participant has missed a round and holds an old model, the two sides compute the model's digest over
        different arrays, or the coordinator gave another model to others.
    Cure:
        Fetch the current model, and take part in the next round. If it happens again with the current model, compare
        the names, shapes and dtypes of its arrays at both sides.
    """


class TransportError(SecAggError):
    """The peer could not be reached, or the connection broke. Nothing is known about who is at fault.

    Cause:
        The coordinator does not run, its address or port is wrong, a firewall is between, something on the way ends
        TLS, or the coordinator itself failed in the call (`INTERNAL`). After a broken connection the client tried again
        for as long as its `RetryPolicy` says.
    Cure:
        Run `secagg doctor` on the participant's machine: it says how far a connection comes. `RetryPolicy` makes the
        client try for longer. After `INTERNAL`, read the coordinator's log: `internal_error` has the traceback.
    """


class RoundTimeoutError(TransportError):
    """The time that our caller allowed, `timeout_s`, is over.

    Cause:
        No round of the task was opened, the round takes longer than `timeout_s`, or the coordinator does not answer.
    Cure:
        Allow more time, or compare the task's name with the one at the FL server. The message says which attempt failed
        last.
    """


class NotInRoundError(SecAggError):
    """This participant is not, or no longer, part of the round: it was declared dropped, or came too late.

    Cause:
        Its message came after the deadline of the phase, the round was full, the FL server excluded it, it left the
        round before, or its place is in another group.
    Cure:
        Take part in the next round. If it happens again and again, the FL server should lengthen the deadline of the
        phase that the message names.
    """


class LimitError(SecAggError):
    """The coordinator has no room for this now: too many rounds, calls or bytes. Trying again later may help.

    Cause:
        As many rounds or calls are under way as the coordinator's settings allow, a message or an answer took longer
        than the settings allow, or the coordinator's machine has too little memory for the sum of a round, or too
        little disk for the vectors of all participants that the round admits.
    Cure:
        A participant's client tries again by itself; whoever opens a round does so later. If the error stays, end
        rounds that nobody needs, look for a second process with the same certificate, or raise the setting that the
        message is about. Lower `max_participants` of a round whose vectors do not fit.
    """


class UnknownRoundError(SecAggError):
    """The coordinator knows no round of that id; it may have been forgotten.

    Cause:
        The id is wrong, the coordinator was restarted, or the round ended longer ago than `keep_finished_s` or
        `keep_finished_rounds` allow.
    Cure:
        Check the id. Fetch sums sooner, or raise these two settings.
    """


class AbortReason(Enum):
    """Why a round ended without a sum. The value is the number on the wire (`AbortReason`)."""

    BELOW_THRESHOLD = 1
    """Fewer participants than the threshold are left.

    Cure:
        Lengthen the deadline of the phase that the message names, expect more participants, or lower the threshold as
        far as the policies of the participants allow. Look at `culprits` and `accused`, too: whoever deals broken
        shares makes others leave.
    """
    WRONG_SHARES = 2
    """More shares of a secret are wrong than can be corrected.

    Cure:
        Look at `culprits`. Find out what is wrong with them, or expel them, and open the next round.
    """
    CANCELLED = 3
    """The FL server aborted the round.

    Cure:
        Nothing is wrong. The message has the words of whoever cancelled.
    """
    COORDINATOR_SHUTDOWN = 4
    """The coordinator shut down.

    Cure:
        Wait until the coordinator is up again, and open the round again.
    """
    INTERNAL = 5
    """The coordinator failed.

    Cure:
        Read the coordinator's log: `round_broken` has the traceback. If the disk is full or a ledger is damaged, the
        message says so. Everything else is a bug.
    """
    DISAGREEMENT = 6
    """Participants who hold the key decrypted different sums, or nobody handed the sum in.

    Cure:
        One participant at least has a fault or lies, or too many left before the sum was reported. Compare the versions
        of all participants, and open the round again.
    """
    MALFORMED_SUM = 7
    """The encrypted sum hides nothing, or the partial decryptions do not open it to a possible sum.

    Cure:
        A participant sent a wrong ciphertext or a wrong partial decryption. Nothing shows which one. Open the round
        again, with a smaller cohort if it happens again.
    """
    DIFFERENCING = 8
    """With sums of the same model that were released before, this one would show too few participants' updates.

    Cure:
        Ask exactly the cohort of the earlier sum again, a cohort that shares nobody with it, or about the next model.
    """


class RoundAborted(SecAggError):
    """The round ended without a sum, for everybody. Nothing was released.

    Attributes:
        reason: why it ended.
        culprits: participants whose fault is proven to the coordinator; empty if none is.
        accused: participants whom more members accuse than may work together. That is hearsay, no proof.

    Cause:
        `reason` says which; see `AbortReason`.
    Cure:
        Do what the row of the reason says, and open the next round.
    """

    def __init__(self, reason: AbortReason, message: str, *, culprits: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.culprits = culprits
        self.accused: tuple[str, ...] = ()

    def accusing(self, accused: tuple[str, ...]) -> Self:
        """This error, with the participants whom members accuse."""
        self.accused = accused
        return self
