"""Turns what `docker save` writes into an archive that is the same on every day, and that `docker load` reads.

    docker save IMAGE | python deploy/release/image.py NAME ARCHIVE.tar.gz

An engine writes into an image when and on which machine it was built. All of that is left out here, and the image gets
the name NAME. Layers, settings and labels stay as they are. Some engines hand out layers that are compressed, as they
keep them; here no layer is, because the archive is compressed as a whole.
"""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

KEPT: Final = ("architecture", "variant", "os", "config", "rootfs")
"""What an image's configuration says to whoever runs it (OCI image specification)."""

OF_THE_BUILD: Final = frozenset({"Hostname", "Domainname", "Image", "AttachStdin", "AttachStdout", "AttachStderr"})
"""Entries of `config` that are about the container that it was built in."""

GZIP: Final = b"\x1f\x8b"
"""How a compressed layer begins (RFC 1952)."""


def settled(configuration: dict[str, Any], created: str) -> bytes:
    """The configuration without anything of its build, as bytes that do not vary."""
    kept: dict[str, Any] = {name: configuration[name] for name in KEPT if name in configuration}
    kept["config"] = {name: value for name, value in kept["config"].items() if name not in OF_THE_BUILD}
    kept["created"] = created
    kept["history"] = [
        {"created": created} | {name: step[name] for name in ("created_by", "empty_layer") if name in step}
        for step in configuration["history"]
    ]
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


def rewrite(saved: BinaryIO, name: str, archive: Path, epoch: int) -> None:
    """Write the one image of `saved` into `archive`, with all times at `epoch` seconds since 1970.

    Raises:
        ValueError: `saved` has more than one image.
    """
    with tarfile.open(fileobj=io.BytesIO(saved.read())) as source:

        def content(member: str) -> bytes:
            found = source.extractfile(member)
            if found is None:
                raise ValueError(f"{member} is no file")
            return found.read()

        (image,) = json.loads(content("manifest.json"))
        created = datetime.fromtimestamp(epoch, UTC).isoformat().replace("+00:00", "Z")
        configuration = settled(json.loads(content(image["Config"])), created)
        named = f"{hashlib.sha256(configuration).hexdigest()}.json"
        layers = [f"{number:02}/layer.tar" for number in range(len(image["Layers"]))]
        with (
            archive.open("xb") as file,
            gzip.GzipFile("", "wb", 9, file, mtime=epoch) as compressed,
            tarfile.open(fileobj=compressed, mode="w", format=tarfile.USTAR_FORMAT) as target,
        ):

            def put(member: str, data: bytes) -> None:
                info = tarfile.TarInfo(member)
                info.size, info.mtime = len(data), epoch
                target.addfile(info, io.BytesIO(data))

            put(named, configuration)
            for place, layer in zip(layers, image["Layers"], strict=True):
                kept = content(layer)
                put(place, gzip.decompress(kept) if kept.startswith(GZIP) else kept)
            manifest = [{"Config": named, "RepoTags": [name], "Layers": layers}]
            put("manifest.json", json.dumps(manifest).encode())


if __name__ == "__main__":
    rewrite(sys.stdin.buffer, sys.argv[1], Path(sys.argv[2]), int(os.environ["SOURCE_DATE_EPOCH"]))
