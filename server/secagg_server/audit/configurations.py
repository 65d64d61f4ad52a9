"""What a round's configuration says, as people read it in the audit log: no floats, and nothing that is long."""

from dataclasses import asdict
from hashlib import sha256
from typing import Any

from secagg.config import RoundConfig
from secagg.encoding.pipeline import Pipeline


def readable(config: RoundConfig) -> dict[str, Any]:
    """The configuration in texts and whole numbers."""
    deadlines = config.deadlines
    encoding = config.encoding
    return {
        "threat_model": config.threat_model.name,
        "max_participants": config.max_participants,
        "threshold": config.threshold,
        "max_colluding": config.max_colluding,
        "suite": config.suite.name,
        "graph": "complete" if config.ring is None else asdict(config.ring),
        "encoding": encoding.text if isinstance(encoding, Pipeline) else repr(encoding),
        "arrays": len(config.schema.arrays),
        "vector_len": config.vector_len,
        "ring_bits": config.ring_bits,
        "release_to_participants": config.release_to_participants,
        "release_to_coordinator": bool(config.release_to_coordinator),
        "certify": config.certify,
        "groups": None if config.groups is None else config.groups.text,
        "deadlines": {name: f"{getattr(deadlines, name):g}" for name in deadlines.__slots__},
    }


def digest_of(config_bytes: bytes) -> str:
    """SHA-256 of the bytes that participants get, in hexadecimal."""
    return sha256(config_bytes).hexdigest()


def about(config: RoundConfig) -> dict[str, Any]:
    """Of which task, model and purpose a sum is, and whether it carries noise."""
    return {
        "task": config.task,
        "model": config.model_digest.hex(),
        "purpose": config.purpose,
        "noise": config.noise is not None,
    }
