"""The archive of the image in a release: what an engine adds of its own is left out, and nothing else."""

import gzip
import hashlib
import io
import json
import runpy
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, cast

import pytest

PROGRAM = Path(__file__).parents[2] / "deploy/release/image.py"
rewrite = cast("Callable[[BinaryIO, str, Path, int], None]", runpy.run_path(str(PROGRAM))["rewrite"])
LAYERS = b"first layer", b"second layer"


def saved(day: str, host: str, *, images: int = 1, as_kept: Callable[[bytes], bytes] = bytes) -> io.BytesIO:
    """What `docker save` writes on a day, on a machine, with layers as its engine keeps them."""
    configuration: dict[str, Any] = {
        "architecture": "amd64",
        "os": "linux",
        "created": day,
        "container": host,
        "container_config": {"Hostname": host},
        "docker_version": host,
        "config": {"Hostname": host, "Image": host, "User": "65532", "Labels": {"revision": "abc"}},
        "history": [{"created": day, "created_by": "COPY", "comment": host}, {"created": day, "empty_layer": True}],
        "rootfs": {"type": "layers", "diff_ids": [hashlib.sha256(layer).hexdigest() for layer in LAYERS]},
    }
    names = [f"{host}-{number}/layer.tar" for number in range(len(LAYERS))]
    manifest = [{"Config": f"{host}.json", "RepoTags": None, "Layers": names}] * images
    held = {f"{host}.json": json.dumps(configuration).encode(), "manifest.json": json.dumps(manifest).encode()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in (held | dict(zip(names, map(as_kept, LAYERS), strict=True))).items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    out.seek(0)
    return out


def test_two_days_and_two_machines_give_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tar.gz", tmp_path / "other.tar.gz"
    rewrite(saved("2026-01-01T00:00:00Z", "aaa"), "secagg-server:1", one, 1_700_000_000)
    rewrite(saved("2027-02-02T00:00:00Z", "bbb"), "secagg-server:1", other, 1_700_000_000)
    assert one.read_bytes() == other.read_bytes()


def test_an_engine_that_keeps_layers_compressed_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one.tar.gz", tmp_path / "other.tar.gz"
    rewrite(saved("2026-01-01T00:00:00Z", "aaa"), "secagg-server:1", one, 1_700_000_000)
    rewrite(saved("2026-01-01T00:00:00Z", "aaa", as_kept=gzip.compress), "secagg-server:1", other, 1_700_000_000)
    assert one.read_bytes() == other.read_bytes()


def test_layers_settings_and_labels_stay(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    rewrite(saved("2026-01-01T00:00:00Z", "aaa"), "secagg-server:1", path, 1_700_000_000)
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(path.read_bytes()))) as archive:
        held = {name: cast("BinaryIO", archive.extractfile(name)).read() for name in archive.getnames()}
        assert {member.mtime for member in archive} == {1_700_000_000}
    (image,) = json.loads(held["manifest.json"])
    assert image["RepoTags"] == ["secagg-server:1"]
    assert tuple(held[name] for name in image["Layers"]) == LAYERS
    raw = held[image["Config"]]
    assert image["Config"] == f"{hashlib.sha256(raw).hexdigest()}.json"
    configuration = json.loads(raw)
    assert configuration["config"] == {"User": "65532", "Labels": {"revision": "abc"}}
    assert configuration["created"] == "2023-11-14T22:13:20Z"
    assert [step.get("created_by") for step in configuration["history"]] == ["COPY", None]


def test_two_images_at_once_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too many values"):
        rewrite(saved("2026-01-01T00:00:00Z", "aaa", images=2), "x", tmp_path / "x.tar.gz", 0)
