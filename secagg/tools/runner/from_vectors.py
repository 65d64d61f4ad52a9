"""The cases of proto/vectors that one participant can play: whole rounds, and what it must refuse."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache, partial
from typing import Final

import numpy as np
from google.protobuf.message import DecodeError as ProtobufError

from secagg.config import DIGEST_SIZE
from secagg.roster import COORDINATOR
from secagg.tools.conformance import fixtures, vectors
from secagg.tools.conformance.document import Document
from secagg.tools.conformance.replay import archive
from secagg.tools.runner import requests
from secagg.tools.runner.cases import Case, Programs, Unlike, refused_as, said
from secagg.tools.runner.lines import Answer, Believes, Feature, Sends, Signs
from secagg.tools.runner.needs import needs_of_vector
from secagg.tools.runner.program import Program
from secagg.wire.configuration import decode_config
from secagg.wire.v1 import config_pb2

_OFFERED: Final = ("round-active", "dahlia")
"""The round, and who is offered another configuration of it."""


def cases() -> Iterator[Case]:
    """All of them, in the order of their files' names; errors as of `vectors.load`."""
    for name in vectors.names():
        vector = vectors.load(name)
        match vector["kind"]:
            case "round":
                yield from _rounds(name, vector)
            case "failure" | "variation" if vector["steps"][0]["at"] != "coordinator":
                yield _case(name, vector, needs_of_vector(vector) | {Feature.REPLAY}, _failure)
            case "offer":
                yield _case(name, vector, needs_of_vector(vector) | {Feature.SIGNED}, _offer)
            case "bounds":
                yield from _offers(name, [case for case in vector["cases"] if "error" in case])
            case "policies":
                yield from _offers(name, vector["cases"])
            case "endings":
                yield _case(name, vector, needs_of_vector(vector) | {Feature.REPLAY}, _endings)
            case "ending" | "aggregate" if vector["expect"]:
                play = _ending if vector["kind"] == "ending" else _aggregate
                yield _case(name, vector, needs_of_vector(vector) | {Feature.REPLAY}, play)


@lru_cache(maxsize=4)
def _load(name: str) -> Document:
    return vectors.load(name)


def _case(name: str, vector: Document, needs: frozenset[Feature], play: Callable[[Document, Programs], None]) -> Case:
    return Case(name, vector["title"], vector.get("check", ""), needs, partial(play, vector))


def _offers(name: str, offered: list[Document]) -> Iterator[Case]:
    """Configurations under a policy, most of which are refused. A case's number is made of its title."""
    for case in offered:
        number = f"{name}-{re.sub('[^a-z0-9]+', '-', case['title'].lower()).strip('-')}"
        needs = needs_of_vector(case) | {Feature.SIGNED}
        yield Case(number, case["title"], case.get("check", "C3"), needs, partial(_bound, case))


def _rounds(name: str, vector: Document) -> Iterator[Case]:
    for participant in sorted(vector["participants"]):
        yield Case(
            f"{name}/{participant}",
            f"{vector['title']}: {participant}",
            "",
            needs_of_vector(vector) | {Feature.REPLAY},
            partial(_whole, name, participant),
        )


def _whole(name: str, participant: str, programs: Programs) -> None:
    round_, [program] = _load(name), programs.take(1)
    _play(program, name, participant, len(round_["steps"]))


def _play(
    program: Program,
    name: str,
    participant: str,
    steps: int,
    terms: Document | None = None,
) -> None:
    """Play the participant's steps among the first of the round, and hold every answer to what is stated."""
    round_, known = _load(name), archive.messages(name)
    for number, step in enumerate(round_["steps"][:steps]):
        if step["at"] == participant:
            answer = _ask(program, name, step, known, terms)
            _hold(answer, [known[slug] for slug in step["expect"]["replies"]], f"step {number} of {name}")


def _ask(
    program: Program,
    name: str,
    step: Document,
    known: "archive.Messages",
    terms: Document | None,
) -> Answer:
    if step["do"] == "join":
        return program.ask(requests.join(_load(name), step["at"], replayed=True, terms=terms))
    return program.ask(requests.receive(known[step["message"]], step["now_ms"]))


def _hold(answer: Answer, stated: list[Document], where: str) -> None:
    wanted = Sends(tuple({"type": message["type"], "parts": message["parts"]} for message in stated))
    if answer == wanted:
        return
    if not isinstance(answer, Sends) or [m["type"] for m in answer.messages] != [m["type"] for m in wanted.messages]:
        raise Unlike(f"{where}: {said(answer)}; the vector says: {said(wanted)}")
    number = next(i for i, pair in enumerate(zip(answer.messages, wanted.messages, strict=True)) if pair[0] != pair[1])
    raise Unlike(f"{where}: message {number} ({wanted.messages[number]['type']}) has other bytes than the vector")


def _failure(vector: Document, programs: Programs) -> None:
    [program], name = programs.take(1), vector["round"]
    participant, terms = vector["steps"][0]["at"], vector
    _play(program, name, participant, vector["after"], terms)
    honest = archive.messages(name)
    known = honest | dict(archive.completed(vector["messages"], honest))
    for number, step in enumerate(vector["steps"]):
        answer, expect = _ask(program, name, step, known, terms), step["expect"]
        if "error" in expect:
            refused_as(answer, expect["error"], expect.get("culprit"))
        elif not isinstance(answer, Sends) or [list(m["parts"]) for m in answer.messages] != _parts(expect, known):
            raise Unlike(f"step {number} of the vector: {said(answer)}, or other bytes than it says")


def _parts(expect: Document, known: "archive.Messages") -> list[list[str]]:
    """The parts of the replies; a step of a failure has them whole, or by name."""
    return [known[reply]["parts"] if isinstance(reply, str) else reply for reply in expect["replies"]]


def _offer(vector: Document, programs: Programs) -> None:
    [program], (name, participant) = programs.take(1), _OFFERED
    more = vector.get("followed_by", {"bytes": "", "times": 0})
    request = requests.join(_load(name), participant, replayed=False, terms=vector)
    honest = program.ask(requests.join(_load(name), participant, replayed=False))
    if not isinstance(honest, Sends):
        raise Unlike(f"the round that differs from this one in nothing else was not joined: {said(honest)}")
    answer = program.ask(
        request
        | {"config": vector["config"] + more["bytes"] * more["times"], "model_digest": vector["model_digest"]}
        | {"purpose": vector.get("purpose", "train")}
    )
    refused_as(answer, vector["expect"]["error"], vector["expect"].get("culprit"))


def _bound(case: Document, programs: Programs) -> None:
    [program], (name, participant) = programs.take(1), _OFFERED
    request = requests.join(_load(name), participant, replayed=False, terms={"policy": case.get("policy", {})})
    read = config_pb2.RoundConfig()
    with suppress(ProtobufError):
        read.ParseFromString(bytes.fromhex(case["config"]))
    offered = {"config": case["config"], "purpose": read.purpose or request["purpose"]}
    if len(read.model_digest) == DIGEST_SIZE:
        offered["model_digest"] = read.model_digest.hex()
    if "error" in case:
        refused_as(
            program.ask(request | offered), case["error"], None if case["error"] == "DecodeError" else COORDINATOR
        )
        return
    schema = decode_config(bytes.fromhex(case["config"])).schema
    offered["update"] = {array.name: np.zeros(array.shape, array.dtype).tobytes().hex() for array in schema.arrays}
    answer = program.ask(request | offered)
    if not case["taken"]:
        refused_as(answer, "PolicyViolation", COORDINATOR)
    elif not isinstance(answer, Sends):
        raise Unlike(f"{said(answer)}; the policy allows this round")


def _endings(vector: Document, programs: Programs) -> None:
    """The receipt, our signature of the result, and everybody's, as stated."""
    [program], result = programs.take(1), vector["result"]
    _play(program, vector["round"], result["signer"], len(_load(vector["round"])["steps"]))
    receipt, now_ms = vector["receipt"]["message"], vector["signed_ms"]
    for request, wanted in (
        (requests.believe_receipt(receipt, None, now_ms), Believes(None)),
        (requests.certify(), Signs(result["signature"])),
        (requests.believe_receipt(receipt, result["signatures"], now_ms), Believes(None, certified=True)),
    ):
        if (answer := program.ask(request)) != wanted:
            raise Unlike(f"asked {request['do']}: {said(answer)}, or other bytes than the vector says")


def _ending(vector: Document, programs: Programs) -> None:
    [program], name = programs.take(1), vector["round"]
    _play(program, name, vector["participant_id"], len(_load(name)["steps"]))
    now_ms = vector.get("now_ms", fixtures.NOW_S * 1000)
    answer = program.ask(requests.believe_receipt(vector["receipt"], vector.get("proof"), now_ms))
    refused_as(answer, vector["expect"]["error"], vector["expect"].get("culprit"))


def _aggregate(vector: Document, programs: Programs) -> None:
    [program], (name, participant) = programs.take(1), _OFFERED
    ending = _load("endings")
    _play(program, name, participant, len(_load(name)["steps"]))
    proof = ending["result"]["signatures"]
    answer = program.ask(requests.believe_receipt(ending["receipt"]["message"], proof, fixtures.NOW_S * 1000))
    if answer != Believes(None, certified=True):
        raise Unlike(f"the receipt of the round: {said(answer)}; it is good")
    answer = program.ask(requests.believe_aggregate(vector["parts"]))
    refused_as(answer, vector["expect"]["error"], vector["expect"].get("culprit"))
