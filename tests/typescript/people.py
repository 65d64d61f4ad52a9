"""Participants of client/typescript, in a process of Node."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from secagg.config import RoundConfig
from secagg.messages import ParticipantId
from tests.serving import site
from tests.taking_part import update_of, weight_of

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "client/typescript/build/test/people.js"


def person(folder: Path, name: ParticipantId, config: RoundConfig, **spoilt: str) -> dict[str, Any]:
    """One participant of a scene, with its files."""
    issued = site().people[name]
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    certificate.write_bytes(issued.certificate_pem)
    key.touch(mode=0o600)
    key.write_bytes(issued.key_pem.expose())
    arrays = {
        array: {"dtype": str(values.dtype), "data": np.ascontiguousarray(values).tobytes().hex()}
        for array, values in update_of(config, name).items()
    }
    return {"certificate": str(certificate), "key": str(key), "arrays": arrays, "weight": weight_of(name), **spoilt}


async def scene(
    target: str, folder: Path, people: Sequence[Mapping[str, Any]], *, expect: int | None = None, **more: Any
) -> list[dict[str, Any]]:
    """What became of each of `people` who says something at the end."""
    ca = folder / "ca-of-scene.pem"
    ca.write_bytes(site().ca_pem)
    policy = {"threatModels": ["SEMI_HONEST", "ACTIVE"], "minColludingShare": "0"}
    told = {
        "target": target,
        "ca": str(ca),
        "model_digest": bytes(32).hex(),
        "policy": policy,
        "people": people,
        **more,
    }
    process = await asyncio.create_subprocess_exec(
        "node",
        str(PROGRAM),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await process.communicate(json.dumps(told).encode())
    lines = [json.loads(line) for line in out.splitlines()]
    assert len(lines) == (len(people) if expect is None else expect), errors.decode()
    return sorted(lines, key=lambda line: str(line["id"]))
