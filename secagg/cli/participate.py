"""`secagg participate`: one participation, with the update and the model in files."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from math import isfinite
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Annotated, Final

import typer

from secagg.cli.names import parse_digest, parse_round_id
from secagg.cli.precision import precision
from secagg.errors import ConfigError, ParticipationCancelled
from secagg.programs.folders import check_writable, flush_folder

if TYPE_CHECKING:
    from secagg_client import Client, Feedback, RoundResult

MEMORY_NAME: Final = "secagg-memory"


def participate(
    server: Annotated[
        str,
        typer.Argument(metavar="HOST:PORT", help="The address of the coordinator for participants (its data plane)."),
    ],
    *,
    update: Annotated[
        Path,
        typer.Option(
            help="The update: an .npz file with the arrays of the round, or a .npy file with the only one. Leave it as "
            "it is until the round is over."
        ),
    ],
    certificate: Annotated[Path, typer.Option(help="The certificate of this participant (PEM).")] = Path("cert.pem"),
    key: Annotated[
        Path, typer.Option(help="The private key of this participant (PEM). Nobody else may be able to read the file.")
    ] = Path("key.pem"),
    ca: Annotated[Path, typer.Option(help="The certificate of the deployment's CA (PEM).")] = Path("ca.pem"),
    task: Annotated[str | None, typer.Option(help="Take part in the next round of this task, and wait for it.")] = None,
    round_id: Annotated[
        str | None, typer.Option("--round", metavar="HEX", help="Take part in the round with this id.")
    ] = None,
    model: Annotated[Path | None, typer.Option(help="The model that the update belongs to, as an .npz file.")] = None,
    model_digest: Annotated[
        str | None, typer.Option(metavar="HEX", help="The digest of that model, in the place of --model.")
    ] = None,
    purpose: Annotated[
        str, typer.Option(help="What the update was computed for. The round must have the same purpose.")
    ] = "train",
    weight: Annotated[
        int, typer.Option(min=1, help="The weight of the update in the mean, such as the number of samples behind it.")
    ] = 1,
    carried: Annotated[
        Path | None,
        typer.Option(
            help="For a task whose pipeline has the step feedback: the .npz file that keeps what rounding and sampling "
            "lost of our updates. Use one file for each task, and keep it private. It is made when it is missing, and "
            "is moved away while a round runs."
        ),
    ] = None,
    memory: Annotated[
        Path | None,
        typer.Option(
            help="The file that keeps which released sums may hold our updates, so that no later sum shows our update "
            f"alone. It is made when it is missing. Default: {MEMORY_NAME} beside the certificate."
        ),
    ] = None,
    no_memory: Annotated[
        bool,
        typer.Option(
            "--no-memory", help="Keep no such file. Later rounds of the same model are then not compared with this one."
        ),
    ] = False,
    state: Annotated[
        Path | None,
        typer.Option(
            help="A folder by which the participation outlives this process; it is made when it is missing. If the "
            "process is killed, or cannot reach the coordinator, run the same command with the same update again: it "
            "goes on in the same round. Use one folder for each participant, on a local disk and in no backup. It "
            "keeps what --carried keeps, too."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the weighted mean to this .npz file (or .npy file, for one array).")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(help="Write what the coordinator signed to this file. secagg round compare reads it."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.001,
            help="Give up after this many seconds. Until then, calls that fail are tried again.",
        ),
    ] = None,
    min_cohort: Annotated[int, typer.Option(min=3, help="Refuse rounds with a smaller threshold.")] = 3,
    min_honest: Annotated[
        int,
        typer.Option(min=2, help="Refuse rounds whose sum may hold fewer updates of participants that do not collude."),
    ] = 2,
    min_organisations: Annotated[
        int, typer.Option(min=1, help="Refuse rounds with participants of fewer organisations.")
    ] = 1,
    min_colluding_share: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Refuse rounds in which a smaller share of colluding participants could learn an update."
        ),
    ] = 0.3,
    max_epsilon: Annotated[
        float | None,
        typer.Option(help="Refuse a round that costs a participant more ε than this, at --delta."),
    ] = None,
    delta: Annotated[float, typer.Option(help="The δ at which --max-epsilon is meant.")] = 1e-5,
    min_noise: Annotated[
        float,
        typer.Option(
            metavar="Z", min=0, help="Refuse rounds whose participants add less noise than this noise multiplier z."
        ),
    ] = 0.0,
    require_hybrid: Annotated[
        bool,
        typer.Option(
            "--require-hybrid",
            help="Refuse rounds that a quantum computer could open later, if somebody records them: those whose suite "
            "is not XWING_SHA256_AES256.",
        ),
    ] = False,
    allow_semi_honest: Annotated[
        bool,
        typer.Option(
            "--allow-semi-honest",
            help="Also take part in rounds that protect only if the coordinator follows the protocol.",
        ),
    ] = False,
    allow_experimental: Annotated[
        bool,
        typer.Option(
            "--allow-experimental",
            help="Also take part in homomorphic rounds of custody threshold. EXPERIMENTAL: not reviewed; key shares "
            "and partial decryptions are not proven correct, and ciphertexts are malleable.",
        ),
    ] = False,
    server_name: Annotated[
        str | None, typer.Option(help="The name in the certificate of the coordinator, where it is not HOST.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Take part in one round. Control-C and SIGTERM make the participant leave and tell the coordinator.

    Nothing of the update leaves this machine unmasked, and nothing at all if it does not fit the round, if the round
    is about another model, or if it protects less than the options demand.

    Example: secagg participate aggregator.example.org:7443 --task digits --update u.npz --model m.npz --weight 120
    """
    from secagg_client import Client, RetryPolicy, StateFolder

    from secagg.config import ThreatModel
    from secagg.policy import Policy
    from secagg.programs.arrayfiles import read_arrays

    digest = None if model_digest is None else parse_digest(model_digest)
    if carried is not None and task is None:
        raise ConfigError("what is carried belongs to a task: name it with --task")
    if carried is not None and state is not None:
        raise ConfigError("the folder of --state keeps what is carried, too; leave out --carried")
    if state is not None and no_memory:
        raise ConfigError("what --state keeps outlives this process, so the memory of sums must, too: no --no-memory")
    if memory is not None and no_memory:
        raise ConfigError("--memory names a file and --no-memory wants none; leave one of them out")
    check_writable(out, carried, receipt)
    policy = Policy(
        min_cohort=min_cohort,
        min_honest=min_honest,
        min_organisations=min_organisations,
        require_hybrid=require_hybrid,
        min_colluding_share=min_colluding_share,
        max_epsilon=max_epsilon,
        delta=delta,
        min_noise_multiplier=min_noise,
        threat_models=frozenset(ThreatModel) if allow_semi_honest else frozenset({ThreatModel.ACTIVE}),
        allow_experimental=allow_experimental,
    )
    retry = RetryPolicy() if timeout is None else RetryPolicy.lasting(timeout)
    files = {"certificate": certificate, "key": key, "ca": ca}
    kept = None if no_memory else memory or certificate.with_name(MEMORY_NAME)
    with (
        nullcontext() if state is None else StateFolder(state) as held,
        Client.from_files(server, **files, policy=policy, retry=retry, server_name=server_name, memory=kept) as client,
        _kept(client.feedback, task or "", carried),
    ):
        with _left_on_signals(client):
            result = client.participate(
                read_arrays(update),
                weight=weight,
                task=task,
                round_id=None if round_id is None else parse_round_id(round_id),
                model=None if model is None else read_arrays(model),
                model_digest=digest,
                purpose=purpose,
                fetch_aggregate=out is not None,
                state=held,
                out=out,
                timeout_s=timeout,
            )
        # Safe before the folder forgets the round: who is killed here gets the same result again.
        if receipt is not None:
            with receipt.open("wb") as file:
                file.write(result.receipt.export())
                file.flush()
                os.fsync(file.fileno())
            flush_folder(receipt.parent)
    _report(result, out, receipt, as_json)


@contextmanager
def _left_on_signals(client: "Client") -> Iterator[None]:
    """Control-C, and SIGTERM as a service or a container is stopped with, end the program after it left the round. The
    second one ends it at once.

    Another thread cancels: an exception that a signal raises inside of gRPC may leave a lock of it locked for ever.
    """
    caught: list[int] = []
    over = Event()

    def cancel() -> None:
        client.cancel()
        while not over.wait(0.1):  # the participation may just begin
            client.cancel()

    def leave(number: int, _: object) -> None:
        caught.append(number)
        signal.signal(number, signal.SIG_DFL)
        Thread(target=cancel, daemon=True).start()

    before = {number: signal.signal(number, leave) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except ParticipationCancelled:
        if not caught:
            raise
        raise SystemExit(128 + caught[0]) from None
    finally:
        over.set()
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _kept(feedback: "Feedback", task: str, path: Path | None) -> Iterator[None]:
    """What `path` holds is carried, and kept there again afterwards. Were we killed meanwhile, nothing would be sent
    twice.
    """
    from secagg.programs.arrayfiles import read_arrays, write_arrays

    if path is None:
        yield
        return
    if path.exists():
        feedback.restore(task, read_arrays(path))
        path.unlink()
    try:
        yield
    finally:
        path.touch(mode=0o600)
        write_arrays(path, feedback.arrays(task))


def _report(result: "RoundResult", out: Path | None, receipt: Path | None, as_json: bool) -> None:
    if as_json:
        report = {
            "round": result.round_id.hex(),
            "survivors": list(result.survivors),
            "sums_digest": result.receipt.sums_digest.hex(),
            "certified": result.certified,
            "receipt": str(receipt) if receipt else None,
            **precision(result.mean),
            "bytes_sent": result.bytes_sent,
            "bytes_received": result.bytes_received,
            "mean": str(out) if out and result.mean else None,
            "totals": str(out) if out and result.totals else None,
        }
        typer.echo(json.dumps(report, indent=2))
        return
    typer.echo(f"round {result.round_id.hex()}: {len(result.survivors)} updates in the sum")
    typer.echo(f"  sent {result.bytes_sent:,} bytes, received {result.bytes_received:,}")
    typer.echo(f"  digest of the sum {result.receipt.sums_digest.hex()}")
    typer.echo(f"  {_certified(result)}")
    if receipt is not None:
        typer.echo(f"  receipt in {receipt}")
    if out is not None and result.mean is not None:
        bound = result.mean.error_bound
        what = "weighted mean" if result.groups is None else f"combination of {len(result.groups.groups)} groups"
        typer.echo(f"  {what} in {out}" + (f", within {bound:.3g} of the exact one" if isfinite(bound) else ""))
    if out is not None and result.totals is not None:
        typer.echo(f"  exact sums of {result.totals.summands} updates in {out}")


def _certified(result: "RoundResult") -> str:
    if not result.config.certify:
        return "not certified: this round does not ask for it; the sum is the coordinator's word"
    if not result.certified:
        return "NOT certified: too few survivors signed this result; the sum is the coordinator's word"
    signed = f"certified: at least {result.config.signatures_needed} survivors signed this result"
    return signed if result.groups is None else f"{signed} of our own group; other groups' are the coordinator's word"
