"""Mask streams: expansion, and expansion with addition, beside what AES and numpy can do here."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from secagg.config import Suite
from secagg.crypto.mask_stream import STRIDE_BYTES, MaskCipher, MaskStream, StrideMemory, stride_words
from secagg.crypto.prg import Words
from secagg.crypto.secret import Secret
from secagg.errors import MissingExtraError
from secagg.masked.masks import Mask, add_masks
from secagg.tools.bench.measure import Turns, Work, take_turns, wall_clock
from secagg.tools.bench.report import Figure, Section, at_least

THREADS: Final = 2
KEY_SIZE: Final = 16
RAW_BUFFER_BYTES: Final = 1 << 16
_WORD: Final = np.dtype("<u4")
_MORE_TURNS: Final = 4  # for two threads: on a shared machine the second core is not always free
_VECTOR_BYTES: Final = 1 << 20  # a vector of a chunk's size, masked over and over


def measure(total_bytes: int, repeats: int) -> Section:
    """Rates over `total_bytes` of stream, a multiple of 1 MiB."""
    figures = (*one_thread(total_bytes, repeats), *_two_threads(_works(total_bytes), repeats))
    return Section("mask_stream", "Mask streams", figures)


def one_thread(total_bytes: int, repeats: int) -> tuple[Figure, ...]:
    """The rates of one core, by CPU time; of AEGIS, too, where it is installed."""
    works = _works(total_bytes)
    if aegis := installed(MaskCipher.AEGIS_128X4):
        works["aegis_stream"] = lambda: _expand(total_bytes, MaskCipher.AEGIS_128X4)
        works["aegis_masks"] = lambda: _add_masks(total_bytes, Suite.X25519_SHA256_AEGIS128X4)
    one, gigabytes = take_turns(works, repeats), total_bytes / 1e9
    return (*_rates(one, gigabytes), *(_aegis_rates(one, gigabytes) if aegis else ()))


def installed(cipher: MaskCipher) -> bool:
    """Whether the packages of a cipher are here."""
    try:
        cipher.require()
    except MissingExtraError:
        return False
    return True


def _works(total_bytes: int) -> dict[str, Work]:
    return {
        "aes": lambda: _raw_aes(total_bytes),
        "stream": lambda: _expand(total_bytes, MaskCipher.AES_128),
        "add": lambda: _only_add(total_bytes),
        "masks": lambda: _add_masks(total_bytes, Suite.X25519_SHA256_AES128),
    }


def _aegis_rates(one: Turns, gigabytes: float) -> tuple[Figure, ...]:
    stream, add, masks = (gigabytes / one.median(name) for name in ("aegis_stream", "add", "aegis_masks"))
    bound = 1 / (1 / stream + 1 / add)
    return (
        Figure("aegis_stream_gb_per_s", stream, note="mask streams of the suite with AEGIS-128X4"),
        Figure("add_aegis_masks_gb_per_s", masks, note="the same as add_masks_gb_per_s, with AEGIS-128X4"),
        Figure("aegis_masks_speedup", one.ratio("masks", "aegis_masks"), note="over AES-128; above 1, choose it here"),
        Figure("add_aegis_masks_to_limit_ratio", masks / bound, at_least(0.9), "limit: 1/(1/stream + 1/add)"),
    )


def _rates(one: Turns, gigabytes: float) -> tuple[Figure, ...]:
    aes, stream, add, masks = (gigabytes / one.median(name) for name in ("aes", "stream", "add", "masks"))
    bound = 1 / (1 / stream + 1 / add)
    return (
        Figure("aes_ctr_gb_per_s", aes, note="limit: AES-128-CTR of `cryptography`, update_into one 64 KiB buffer"),
        Figure("mask_stream_gb_per_s", stream),
        Figure("mask_stream_to_aes_ratio", one.ratio("aes", "stream"), at_least(0.85), "one thread, CPU time"),
        Figure("numpy_add_gb_per_s", add, note=f"limit: np.add within the cache, {STRIDE_BYTES >> 10} KiB at a time"),
        Figure("add_masks_gb_per_s", masks, note="mask bytes expanded and added to a vector of uint32"),
        Figure("add_masks_limit_gb_per_s", bound, note="limit: 1/(1/stream + 1/add); the stream takes most of it"),
        Figure("add_masks_to_limit_ratio", masks / bound, at_least(0.9)),
    )


def _two_threads(works: dict[str, Work], repeats: int) -> tuple[Figure, ...]:
    with ThreadPoolExecutor(THREADS) as pool:
        threaded = {f"{name}_2": _on_all(pool, work) for name, work in works.items() if name != "add"}
        both = take_turns({**works, **threaded}, _MORE_TURNS * repeats, wall_clock)

    def speedup(name: str) -> float:
        return THREADS * both.fastest(name) / both.fastest(f"{name}_2")

    note = "two threads beside one, fastest turns of each, wall clock"
    return (
        Figure(
            "aes_ctr_2_threads_speedup",
            speedup("aes"),
            note="limit: what raw AES gains here; below 1.7 the machine is busy",
        ),
        Figure("mask_stream_2_threads_speedup", speedup("stream"), at_least(1.7), note),
        Figure("add_masks_2_threads_speedup", speedup("masks"), note=note),
    )


def _on_all(pool: ThreadPoolExecutor, work: Work) -> Callable[[], None]:
    """The work once on every thread at the same time."""

    def run() -> None:
        for running in [pool.submit(work) for _ in range(THREADS)]:
            running.result()

    return run


def _raw_aes(total: int) -> None:
    zeros, out = bytes(RAW_BUFFER_BYTES), bytearray(RAW_BUFFER_BYTES)
    cipher = Cipher(algorithms.AES(bytes(KEY_SIZE)), modes.CTR(bytes(16))).encryptor()
    for _ in range(total // RAW_BUFFER_BYTES):
        cipher.update_into(zeros, out)


def _expand(total: int, cipher: MaskCipher) -> None:
    count = stride_words(_WORD)
    stream = MaskStream(cipher, Secret(bytes(KEY_SIZE)), StrideMemory(count, _WORD))
    for number in range(total // STRIDE_BYTES):
        stream.stride(number, count)


def _only_add(total: int) -> None:
    block: Words = np.zeros(stride_words(_WORD), _WORD)
    mask: Words = np.ones(stride_words(_WORD), _WORD)
    for _ in range(total // STRIDE_BYTES):
        np.add(block, mask, out=block)


def _add_masks(total: int, suite: Suite) -> None:
    vector: Words = np.zeros(_VECTOR_BYTES // _WORD.itemsize, _WORD)
    masks = [Mask(Secret(i.to_bytes(KEY_SIZE, "big")), negative=i % 2 == 1) for i in range(total // _VECTOR_BYTES)]
    add_masks(vector, 0, masks, suite)
