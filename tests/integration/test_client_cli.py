"""`secagg round` and `secagg participate` as people run them: processes, files, one-line errors."""

import asyncio
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from secagg_client import Feedback

from secagg.cli.configfiles import read_config
from secagg.cli.names import parse_digest, parse_round_id
from secagg.cli.participate import participate
from secagg.config import ThreatModel
from secagg.encoding.pipeline import Pipeline
from secagg.encoding.schema import Schema
from secagg.errors import ConfigError, InputError
from secagg.lattice.parameters import Custody
from secagg.programs.arrayfiles import read_arrays, write_arrays
from tests.serving import CROWD, NAMES, make_config, site, stage
from tests.taking_part import NOBODY, async_client, take_part

MODEL: dict[str, np.ndarray[Any, np.dtype[Any]]] = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(3)}


async def run(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `secagg ARGUMENTS`."""
    program = "from secagg.cli.main import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, *map(str, arguments), stdout=-1, stderr=-1
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def succeed(*arguments: str | Path) -> str:
    code, out, err = await run(*arguments)
    assert (code, err) == (0, "")
    return out


def identity_files(folder: Path, number: int) -> list[str | Path]:
    """An identity in a folder of its own, as options."""
    made, home = site().people[CROWD[number]], folder / f"p{number}"
    home.mkdir()
    (home / "key.pem").touch(mode=0o600)
    (home / "key.pem").write_bytes(made.key_pem.expose())
    (home / "cert.pem").write_bytes(made.certificate_pem)
    (home / "ca.pem").write_bytes(site().ca_pem)
    write_arrays(home / "update.npz", {name: np.full_like(a, 0.1 * (number + 1)) for name, a in MODEL.items()})
    options: list[str | Path] = []
    for option, name in (("certificate", "cert"), ("key", "key"), ("ca", "ca")):
        options += [f"--{option}", home / f"{name}.pem"]
    return [*options, "--update", home / "update.npz"]


async def test_what_rounds_lose_is_kept_in_a_file(tmp_path: Path) -> None:
    """Two rounds at one bit, one of three from the command line: nothing is lost between its processes."""
    carried, total = tmp_path / "carried.npz", np.zeros(9)
    pipeline = Pipeline.parse("feedback | quantise(bits=1, range=1.0)")
    config = replace(make_config(3), task="digits", schema=Schema.of(MODEL), encoding=pipeline)
    stores = [Feedback(), Feedback()]
    options = [*identity_files(tmp_path, 0), "--task", "digits", "--model-digest", "00" * 32, "--carried", carried]
    async with stage(tmp_path) as s:
        address = s.server.data_address
        for _ in range(2):
            round_id = await s.director.open(config)
            update = {name: np.full_like(a, 0.3) for name, a in MODEL.items()}
            given: dict[str, Any] = {"update": update, "weight": 1, "round_id": round_id, "synchronous": False}
            others = [take_part(address, NAMES[i + 1], config, feedback=f, **given) for i, f in enumerate(stores)]
            mine = asyncio.create_task(succeed("participate", address, *options))
            result, _ = await asyncio.gather(*others)
            await mine
            assert result.mean is not None
            total += 3 * flat(result.mean.arrays)
            assert carried.stat().st_mode & 0o077 == 0
    left = flat(read_arrays(carried)) + sum(flat(f.arrays("digits")) for f in stores)
    np.testing.assert_allclose(total + left, 2 * (0.1 + 0.3 + 0.3), atol=1e-5)
    with pytest.raises(ConfigError, match="name it with --task"):
        participate(address, update=carried, round_id="00" * 16, carried=carried)


def flat(arrays: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.concatenate([np.asarray(arrays[name], np.float64).reshape(-1) for name in MODEL])


async def test_a_round_from_the_command_line(tmp_path: Path) -> None:
    model, config, mean = tmp_path / "model.npz", tmp_path / "round.config", tmp_path / "mean.npz"
    write_arrays(model, MODEL)
    async with stage(tmp_path) as s:
        control = ("--control", s.server.control_address)
        opened = await succeed(
            *("round", "open", "--task", "digits", "--model", model, "-n", "3", "--clip", "1", "--max-weight", "9"),
            *("--certify", "--save-config", config, *control),
        )
        round_id = opened.strip()
        assert read_config(config).task == "digits"
        (line,) = (await succeed("round", "list", *control)).splitlines()
        assert line.startswith(round_id)
        assert "AdvertiseKeys" in line

        def participate(number: int, *more: str | Path) -> Any:
            return succeed(
                *("participate", s.server.data_address, *identity_files(tmp_path, number), "--task", "digits"),
                *("--model", model, "--weight", str(number + 1), "--timeout", "30", *more),
            )

        fetched, watched, *said = await asyncio.gather(
            succeed("round", "fetch", round_id, "--config", config, "--out", mean, "--wait", *control),
            succeed("round", "watch", round_id, *control),
            participate(0, "--json", "--out", tmp_path / "mine.npz", "--receipt", tmp_path / "mine.receipt"),
            participate(1, "--receipt", tmp_path / "theirs.receipt"),
            participate(2),
        )
        assert "3 updates of total weight 6" in fetched
        assert "Unmask: participant-00003 delivered" in watched
        assert watched.splitlines()[-1].split("  ")[1].startswith("over: 3 updates in the sum")
        report = json.loads(said[0])
        assert (report["round"], report["survivors"], report["total_weight"]) == (round_id, list(NAMES[:3]), 6)
        assert f"round {round_id}: 3 updates in the sum" in said[1]
        assert report["certified"]
        assert report["receipt"] == str(tmp_path / "mine.receipt")
        assert "certified: at least 3 survivors signed this result" in said[1]
        receipts = tmp_path / "mine.receipt", tmp_path / "theirs.receipt"
        agreed = await succeed("round", "compare", *receipts, "--ca", tmp_path / "p0" / "ca.pem")
        assert agreed == f"they agree: 3 updates in the sum with digest {report['sums_digest']}\n"
        truth = (0.1 * 1 + 0.2 * 2 + 0.3 * 3) / 6
        for path in (mean, tmp_path / "mine.npz"):
            for name, values in read_arrays(path).items():
                assert values.shape == MODEL[name].shape
                np.testing.assert_allclose(values, truth, atol=report["error_bound"])


async def test_a_round_in_groups_from_the_command_line(tmp_path: Path) -> None:
    model, config, mean = tmp_path / "model.npz", tmp_path / "round.config", tmp_path / "mean.npz"
    write_arrays(model, MODEL)
    async with stage(tmp_path) as s:
        control = ("--control", s.server.control_address)
        opened = await succeed(
            *("round", "open", "--task", "digits", "--model", model, "-n", "3", "--clip", "1"),
            *("--groups", "3", "--combine", "trimmed:1", "--save-config", config, *control),
        )
        round_id = opened.strip()
        own = tmp_path / "mine.npz"

        async def take_part(number: int) -> None:
            async with async_client(s.server.data_address, CROWD[number]) as one:
                await one.participate(MODEL, weight=1, task="digits", model=MODEL, timeout_s=30)

        others = asyncio.gather(*map(take_part, range(1, 9)))
        fetched, watched, said = await asyncio.gather(
            succeed("round", "fetch", round_id, "--config", config, "--out", mean, "--wait", *control),
            succeed("round", "watch", round_id, *control),
            succeed(
                *("participate", s.server.data_address, *identity_files(tmp_path, 0), "--task", "digits"),
                *("--model", model, "--timeout", "30", "--out", own),
            ),
        )
        await others
        assert "9 updates of total weight 9" in fetched
        assert "combination of 3 groups in " in said
        lines = [line.split("  ", 1)[1] for line in watched.splitlines()]
        assert {line.split(":")[0] for line in lines[:-1]} == {"group 1", "group 2", "group 3"}
        assert lines[-1].startswith("over: 9 updates in the sum")
        for name, values in read_arrays(own).items():
            np.testing.assert_array_equal(values, read_arrays(mean)[name])


PIPELINE = "clip(l2=1.0) | rotate | quantise(bits=20) | noise(law=skellam, z=6.0)"


@pytest.mark.parametrize(
    ("options", "scheme", "custody", "given"),
    [
        (("--clip", "1", "--scheme", "bfv", "--give-sum"), "bfv", Custody.PARTICIPANTS, True),
        (("--clip", "1", "--scheme", "ckks"), "ckks", Custody.PARTICIPANTS, False),
        (("--clip", "1", "--scheme", "ckks", "--custody", "threshold"), "ckks", Custody.THRESHOLD, True),
        (("--pipeline", PIPELINE), "masked", None, True),
        (("--pipeline", PIPELINE, "--scheme", "bfv"), "bfv", Custody.PARTICIPANTS, False),
    ],
)
async def test_rounds_of_every_scheme_are_opened(
    tmp_path: Path, options: tuple[str, ...], scheme: str, custody: Custody | None, given: bool
) -> None:
    write_arrays(tmp_path / "model.npz", MODEL)
    async with stage(tmp_path) as s:
        told = await succeed(
            *("round", "open", "--task", "digits", "--model", tmp_path / "model.npz", "-n", "6", "--json"),
            *options,
            *("--save-config", tmp_path / "r.config", "--control", s.server.control_address),
        )
    config, facts = read_config(tmp_path / "r.config"), json.loads(told)
    assert (facts["scheme"], facts["max_colluding"]) == (config.scheme, config.max_colluding)
    assert config.scheme == scheme
    assert config.threat_model is (ThreatModel.ACTIVE if scheme == "masked" else ThreatModel.SEMI_HONEST)
    assert (config.homomorphic.custody if config.homomorphic else None) is custody
    assert config.release_to_coordinator is given
    assert config.max_colluding == (0 if custody is Custody.PARTICIPANTS else 1)
    assert ("noise" in str(getattr(config.encoding, "text", ""))) is ("--pipeline" in options)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "give one of --clip"),
        (("--clip", "1", "--pipeline", PIPELINE), "give one of --clip"),
        (("--clip", "1", "--custody", "threshold"), "custody threshold belongs to ckks or bfv"),
        (("--clip", "1", "--scheme", "bfv", "--threat-model", "active"), "semi-honest coordinator only"),
    ],
)
async def test_rounds_that_do_not_go_together(tmp_path: Path, options: tuple[str, ...], says: str) -> None:
    write_arrays(tmp_path / "model.npz", MODEL)
    code, _, err = await run(
        "round", "open", "--task", "digits", "--model", tmp_path / "model.npz", "-n", "6", *options
    )
    assert code == 1
    assert says in err


async def test_a_round_that_is_aborted(tmp_path: Path) -> None:
    write_arrays(tmp_path / "model.npz", MODEL)
    async with stage(tmp_path) as s:
        control = ("--control", s.server.control_address)
        opened = await succeed(
            *("round", "open", "--task", "digits", "--model", tmp_path / "model.npz", "-n", "3", "--clip", "1"),
            *("--json", *control),
        )
        round_id = json.loads(opened)["round"]
        assert await succeed("round", "abort", round_id, "--reason", "wrong model", *control) == ""
        code, out, err = await run("round", "watch", round_id, "--json", *control)
        assert code == 1
        assert "wrong model" in json.loads(out.splitlines()[-1])["round_failed"]["error"]["message"]
        told = json.loads(err)
        assert (told["error"], told["reason"]) == ("RoundAborted", "cancelled")
        assert "wrong model" in told["message"]
        started = [json.loads(line)["phase_started"]["phase"] for line in out.splitlines() if "phase_started" in line]
        assert started == ["AdvertiseKeys"]
        (line,) = json.loads(await succeed("round", "list", "--json", *control))
        assert (line["round"], line["state"], line["phase"]) == (round_id, "failed", None)


@pytest.mark.parametrize(
    ("update", "model", "says"),
    [
        ({"w": np.full((2, 3), np.nan, np.float32), "b": np.zeros(3)}, MODEL, "'w' is nan at index"),
        (MODEL, None, "either the model"),
    ],
)
async def test_errors_are_one_line(tmp_path: Path, update: Any, model: Any, says: str) -> None:
    options = identity_files(tmp_path, 0)
    write_arrays(tmp_path / "p0" / "update.npz", update)
    if model:
        write_arrays(tmp_path / "model.npz", model)
        options += ["--model", tmp_path / "model.npz"]
    code, out, err = await run("participate", NOBODY, *options, "--task", "digits")
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert says in err


def damages(whole: bytes) -> list[tuple[int, bytes]]:
    """Where in an .npz file to write what."""
    central = whole.index(b"PK\x01\x02")
    deflated = central + 10, b"\x08"  # but it is not
    return [
        deflated,
        (central + 10, b"\x63"),  # an unknown compression
        (central + 8, b"\x01"),  # encrypted
        (central + 6, b"\x63"),  # of a later version of the format
        (whole.index(b"(3,)"), b"(9**9,)"),
    ]


def test_files_that_are_no_arrays_are_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"PK\x03\x04 broken", b"no arrays"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"not a readable \.npz or \.npy file"):
            read_arrays(path)
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match=r"not a readable \.npz or \.npy file of plain arrays"):
        read_arrays(tmp_path / "objects.npz")
    np.savez(path.with_suffix(".npz"), values=np.zeros(3))
    whole = path.with_suffix(".npz").read_bytes()
    for at, value in damages(whole):
        path.write_bytes(whole[:at] + value + whole[at + len(value) :])
        with pytest.raises(InputError, match=r"plain arrays; write it with numpy\.savez"):
            read_arrays(path)
    np.save(tmp_path / "long.npy", np.zeros(3))
    plain, shape = (tmp_path / "long.npy").read_bytes(), f"({2**64},)".encode()
    path.write_bytes(plain.replace(b"(3,), }".ljust(len(shape) + 3), shape + b", }"))
    with pytest.raises(InputError, match=r"plain arrays; write it with numpy\.savez"):
        read_arrays(path)
    path.write_bytes(b"\xff\xff")
    with pytest.raises(ConfigError, match="file"):
        read_config(path)


@pytest.mark.parametrize("text", ["", "zz" * 16, "00" * 15, "00" * 17])
def test_round_ids_and_digests_are_hexadecimal(text: str) -> None:
    for parse in (parse_round_id, parse_digest):
        with pytest.raises(ConfigError, match="hexadecimal digits"):
            parse(text)
    assert parse_round_id("0a" * 16) == b"\x0a" * 16


def test_arrays_may_have_the_names_of_numpys_arguments(tmp_path: Path) -> None:
    arrays = {name: np.full(2, number, np.float32) for number, name in enumerate(["file", "allow_pickle", "a/b.npy"])}
    write_arrays(tmp_path / "model.npz", arrays)
    write_arrays(tmp_path / "model.npz", arrays)
    read = read_arrays(tmp_path / "model.npz")
    assert list(read) == list(arrays)
    assert all(np.array_equal(read[name], array) for name, array in arrays.items())
