"""NVIDIA FLARE's homomorphic encryption beside ours: encrypting an update, adding one, opening the sum.

FLARE's filters and helper are called as its job does, with the context that its provisioning makes. Ours is CKKS in
custody `participants`, which has the same trust: every participant has the key, the server has none.
"""

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from secagg.config import ThreatModel
from secagg.crypto.rng import SystemRng
from secagg.crypto.secret import Secret
from secagg.errors import LocalError
from secagg.lattice.jobs import Desk, Encrypt, OpenDecryption, OpenSymmetric
from secagg.lattice.modular import U64
from secagg.lattice.parameters import Custody, Scheme, find_profile
from secagg.lattice.rlwe import KEY_SEED_SIZE
from secagg.lattice.streams import SEED_SIZE, SeededPolynomials
from secagg.lattice.summation import SeededSum, sum_streams
from secagg.lattice.uploads import upload_chunks
from secagg.tools.bench.cohort import bench_config
from secagg.tools.bench.encoding import CLIP, sample_update
from secagg.tools.bench.homomorphic import SUMMANDS, VALUE_BITS, decrypted, fold
from secagg.tools.bench.measure import cpu_clock
from secagg.tools.bench.peers.works import Side, Timed, Work, timed

_NAMES: Final = ("a", "b", "c")
_EXPANDED_TOGETHER: Final = 10
_CLOSE: Final = 1e-3


def works(values: int) -> Iterator[Work]:
    """Every work. Args: values: m."""
    with contextlib.redirect_stdout(io.StringIO()):  # TenSEAL warns that a vector needs several ciphertexts
        theirs, ours = Flare(values), Ours(values)
    peer, size = f"NVIDIA FLARE {version('nvflare')}", f"m = {values:,}, CKKS"
    yield Work(
        name="encrypt an update",
        size=size,
        peer=peer,
        theirs=Side(run=_quiet(theirs.encrypt), sent_bytes=len(theirs.sent)),
        ours={"CKKS": Side(run=timed(ours.encrypt), sent_bytes=sum(map(len, ours.sent)))},
    )
    yield Work(
        name="add an encrypted update",
        size=size,
        peer=peer,
        theirs=Side(run=_quiet(theirs.add)),
        ours={"CKKS": Side(run=ours.add)},
    )
    yield Work(
        name="open the sum",
        size=size,
        peer=peer,
        theirs=Side(run=_quiet(theirs.open)),
        ours={"CKKS": Side(run=timed(ours.open), note="exact here, approximate at the peer")},
    )


def _quiet(work: Callable[[], object]) -> Timed:
    def run() -> float:
        with contextlib.redirect_stdout(io.StringIO()):
            return timed(work)()

    return run


class Flare:
    """A client and a server of FLARE with one context.

    Attributes:
        sent: an encrypted update, as it is sent.
    """

    def __init__(self, values: int) -> None:
        """Make keys, and encrypt once."""
        import tenseal  # noqa: PLC0415 - the package may be absent
        from nvflare.apis.fl_context import FLContext  # noqa: PLC0415
        from nvflare.app_common.aggregators.weighted_aggregation_helper import (  # noqa: PLC0415
            WeightedAggregationHelper,
        )
        from nvflare.app_opt.he.model_decryptor import HEModelDecryptor  # noqa: PLC0415
        from nvflare.app_opt.he.model_encryptor import HEModelEncryptor  # noqa: PLC0415
        from nvflare.lighter.impl.he import HEBuilder  # noqa: PLC0415

        logging.getLogger("nvflare").setLevel(logging.ERROR)
        builder = HEBuilder()
        builder.initialize(None, None)
        key = tenseal.context_from(builder.get_serialized_context(is_client=True))
        self._context = FLContext()
        self._encryptor = HEModelEncryptor(weigh_by_local_iter=False)
        self._encryptor.tenseal_context, self._encryptor.encrypt_layers = key, [True]
        self._decryptor = HEModelDecryptor()
        self._decryptor.tenseal_context = key
        self._helper = WeightedAggregationHelper
        self._update = sample_update(values)
        self.sent = self.encrypt()
        self._total: Any = None
        self._added = 0
        self.add()

    def encrypt(self) -> bytes:
        """The filter of a client, and FLARE's own serialisation."""
        from nvflare.fuel.utils import fobs  # noqa: PLC0415 - the package may be absent

        params, _ = self._encryptor.encryption({"values": self._update}, self._context)
        return bytes(fobs.dumps(params))

    def add(self) -> None:
        """The server reads an update, and adds it to the sum."""
        from nvflare.fuel.utils import fobs  # noqa: PLC0415 - the package may be absent

        if self._total is None:
            self._total = self._helper(weigh_by_local_iter=False)
        self._total.add(fobs.loads(self.sent), 1.0, "client", 0)

    def open(self) -> None:
        """The filter of a client decrypts what the server sends back: here one update.

        Raises:
            LocalError: it is not what was encrypted.
        """
        from nvflare.fuel.utils import fobs  # noqa: PLC0415 - the package may be absent

        params = self._decryptor.decryption(fobs.loads(self.sent), {"values": True}, self._context)
        if not np.allclose(params["values"], self._update, atol=_CLOSE):
            raise LocalError("FLARE's decrypted values are not those of the update, so its time says nothing")


class Ours:
    """Participants and a coordinator of a round in CKKS.

    Attributes:
        sent: the chunks of an encrypted update.
    """

    def __init__(self, values: int) -> None:
        """Make keys, and encrypt once."""
        rng = SystemRng()
        self._profile = find_profile(Scheme.CKKS, Custody.PARTICIPANTS, SUMMANDS, VALUE_BITS)
        self._key, self._binding = rng.token(KEY_SEED_SIZE), rng.token(32)
        self._seed = rng.token(SEED_SIZE)
        self._desk, self._values = Desk(), values
        self._desk.do(OpenSymmetric(self._profile, self._key, self._binding, self._seed, _NAMES[0]))
        self._config = bench_config(SUMMANDS, values, threat_model=ThreatModel.SEMI_HONEST, value_bits=VALUE_BITS)
        self._update = sample_update(values)
        self._length = self._config.vector_len
        self.sent = self.encrypt()
        self._total = SeededSum(self._profile, self._length)
        fold(self._total, self.sent)
        self._streams = [
            SeededPolynomials(self._profile, self._seed, context=self._binding, participant=_NAMES[0])
        ] * _EXPANDED_TOGETHER
        self._desk.do(OpenDecryption(self._profile, self._key, self._binding))
        self._aggregate = self._total.finish(self._streams[:1])

    def encrypt(self) -> list[bytes]:
        """Quantise, encrypt and pack."""
        config = self._config
        encoded = config.code.encode(config.schema.check(self._update), 1, Secret(bytes(32)))

        def read(start: int, stop: int) -> U64:
            return encoded.read(start, stop, np.dtype(np.uint64))

        return list(upload_chunks(self._profile, self._length, read, lambda v, b: self._desk.do(Encrypt(v, b))))

    def add(self) -> float:
        """Unpack, check and add; and the part of a participant in the expansion of seeds, which are summed together."""
        total = SeededSum(self._profile, self._length)
        start = cpu_clock()
        fold(total, self.sent)
        folded = cpu_clock()
        sum_streams(total.upload, self._streams)
        return folded - start + (cpu_clock() - folded) / _EXPANDED_TOGETHER

    def open(self) -> None:
        """Decrypt and decode the sum of one update.

        Raises:
            LocalError: it is not what was encrypted.
        """
        opened = decrypted(self._desk.do, self._profile, self._aggregate, self._length, summands=1)
        mean = self._config.code.decode_mean(opened, 1).arrays["values"]
        if not np.allclose(mean, np.clip(self._update, -CLIP, CLIP), atol=_CLOSE):
            raise LocalError("our decrypted values are not those of the update, so their time says nothing")
