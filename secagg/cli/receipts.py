"""`secagg round compare`: whether two participants were told the same."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from secagg.errors import DecodeError, SecAggError

if TYPE_CHECKING:
    from secagg.receipts import Receipt, ReceiptComparison

_EXIT_CODES = {"agree": 0, "contradict": 1, "unrelated": 2, "invalid": 2}


def compare(
    receipt: Annotated[Path, typer.Argument(help="A receipt: the file that secagg participate --receipt wrote.")],
    other: Annotated[Path, typer.Argument(help="The receipt of another participant.")],
    *,
    ca: Annotated[Path, typer.Option(help="The certificate of the deployment's CA (PEM).")] = Path("ca.pem"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell whether two receipts contradict each other.

    Two receipts of one round that differ prove that the coordinator told its participants different results: it signed
    both. Two that agree prove that both participants were told the same, and not that the sum is right.

    The exit code is 0 if they agree, 1 if they contradict each other, and 2 if nothing can be said: they are of
    different rounds or coordinators, a file is no receipt, or no coordinator of this CA signed it.

    Example: secagg round compare ours.receipt theirs.receipt --ca ca.pem
    """
    from secagg.crypto.identity import TrustAnchors
    from secagg.programs.keyfiles import read_public
    from secagg.receipts import compare_receipts

    try:
        trust = TrustAnchors.from_pem(read_public(ca))
        receipts = _read(receipt), _read(other)
        found = compare_receipts(*receipts, trust)
    except SecAggError as error:
        _end("invalid", {"message": str(error)}, f"nothing can be said: {error}", as_json=as_json)
    said = {"round": [r.statement.round_id.hex() for r in receipts], "differences": list(found.differences)}
    _end(found.verdict.value, said, _sentence(found, receipts[0]), as_json=as_json)


def _read(path: Path) -> "Receipt":
    from secagg.receipts import MAX_EXPORT_BYTES, Receipt

    try:
        with path.open("rb") as file:
            return Receipt.parse(file.read(MAX_EXPORT_BYTES + 1))
    except OSError as error:
        raise DecodeError(f"{path}: {error.strerror}") from error
    except DecodeError as error:
        raise DecodeError(f"{path}: {error}") from error


def _sentence(found: "ReceiptComparison", receipt: "Receipt") -> str:
    from secagg.receipts import Agreement

    match found.verdict:
        case Agreement.AGREE:
            digest = receipt.sums_digest.hex()
            return f"they agree: {receipt.survivors} updates in the sum with digest {digest}"
        case Agreement.CONTRADICT:
            names = ", ".join(found.differences)
            return f"they contradict each other in {names}: the coordinator signed two results of one round"
        case Agreement.UNRELATED:
            return "nothing can be said: they are of different rounds, or of different coordinators"


def _end(verdict: str, said: dict[str, Any], sentence: str, *, as_json: bool) -> NoReturn:
    typer.echo(json.dumps({"verdict": verdict, **said}) if as_json else sentence)
    raise typer.Exit(_EXIT_CODES[verdict])
