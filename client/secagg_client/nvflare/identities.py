"""Where identities lie in a start-up kit: the folder `startup/secagg`, with the files that `secagg ca issue` makes.

FLARE's simulator gives all sites the `startup` folder of the job's workspace. There each site has a folder of its name
in `startup/secagg`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from secagg.crypto.identity import Identity, TrustAnchors
from secagg.programs.keyfiles import read_public
from secagg_client.participation.terms import load

FOLDER: Final = "secagg"
CERTIFICATE: Final = "cert.pem"
KEY: Final = "key.pem"
CA: Final = "ca.pem"


@dataclass(frozen=True, slots=True)
class Kit:
    """What a start-up kit holds for a site.

    Attributes:
        identity: the site's certificate and key.
        trust: the deployment's CA.
    """

    identity: Identity
    trust: TrustAnchors

    @classmethod
    def of(cls, startup: Path, site: str) -> "Kit | None":
        """The identity of a site in a start-up kit; None if the kit has none.

        Raises:
            IdentityError: a file is missing or unreadable, does not fit the others, or others may read the key.
        """
        folder = startup / FOLDER
        if (folder / site).is_dir():
            folder /= site
        if not (folder / CERTIFICATE).exists():
            return None
        return cls(*load(folder / CERTIFICATE, folder / KEY, folder / CA))


def trust_of(startup: Path) -> TrustAnchors:
    """The CA in the server's start-up kit.

    Raises:
        IdentityError: it is missing or unreadable.
    """
    return TrustAnchors.from_pem(read_public(startup / FOLDER / CA))
