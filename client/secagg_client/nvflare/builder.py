"""A builder for `nvflare provision` and `nvflare poc`: identities for secure aggregation in the start-up kits."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from nvflare.lighter.ctx import ProvisionContext
from nvflare.lighter.entity import Project
from nvflare.lighter.spec import Builder

from secagg.crypto.authority import (
    AUTHORITY_VALIDITY,
    LEAF_VALIDITY,
    Authority,
    IssuedCertificate,
    create_authority,
    issue_participant,
    issue_server,
)
from secagg.errors import ConfigError
from secagg.programs.keyfiles import NewFile, read_private, read_public, write_new
from secagg_client.nvflare.identities import CA, CERTIFICATE, FOLDER, KEY

CA_KEY = "ca.key"


class SecAggBuilder(Builder):
    """Gives every site an identity, and everybody the CA that vouches for them.

    The CA is made once and kept in the project's `state` folder, beside FLARE's own. Whoever has that folder decides
    who takes part, so keep it away from the server. An identity is named after its site, and is made anew in each run;
    its private key is in the site's kit and nowhere else.
    """

    def __init__(self, days: int = LEAF_VALIDITY.days, ca_days: int = AUTHORITY_VALIDITY.days) -> None:
        """Args:
        days: how long identities are valid, in days, 1 or more.
        ca_days: how long a CA that is made now is valid, in days.

        Raises:
            ConfigError: no such number of days.
        """
        for name, value in (("days", days), ("ca_days", ca_days)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 36_500:
                raise ConfigError(f"{name} is 1 to 36500 days, not {value!r}")
        self.days, self.ca_days = days, ca_days

    def build(self, project: Project, ctx: ProvisionContext) -> None:
        """Write `startup/secagg` into the kits of server and sites, and `local/secagg` into those of sites.

        Raises:
            ConfigError: a site has a name that no participant can have.
            IdentityError: the CA in the state folder is damaged or has expired.
        """
        now = datetime.now(UTC)
        ca, authority = self._authority(project, ctx, now)
        server = project.get_server()
        hosts = dict.fromkeys([server.get_default_host(), server.name, *_listed(server.get_prop("host_names"))])
        validity = timedelta(days=self.days)
        issued = issue_server(authority, hosts=list(hosts), now=now, validity=validity)
        _write(Path(ctx.get_kit_dir(server)), issued, ca)
        for site in project.get_clients():
            issued = issue_participant(
                authority, participant_id=site.name, organisation=site.org, now=now, validity=validity
            )
            _write(Path(ctx.get_kit_dir(site)), issued, ca)
            Path(ctx.get_local_dir(site), FOLDER).mkdir(mode=0o700, exist_ok=True)

    def _authority(self, project: Project, ctx: ProvisionContext, now: datetime) -> tuple[bytes, Authority]:
        folder = Path(ctx.get_state_dir()) / FOLDER
        if not folder.exists():
            made = create_authority(name=project.name[:64], now=now, validity=timedelta(days=self.ca_days))
            write_new([NewFile(folder / CA, made.certificate_pem), NewFile(folder / CA_KEY, made.key_pem)])
        ca = read_public(folder / CA)
        return ca, Authority.from_pem(ca, read_private(folder / CA_KEY).expose())


def _write(startup: Path, issued: IssuedCertificate, ca: bytes) -> None:
    folder = startup / FOLDER
    write_new(
        [
            NewFile(folder / CERTIFICATE, issued.certificate_pem),
            NewFile(folder / KEY, issued.key_pem),
            NewFile(folder / CA, ca),
        ]
    )


def _listed(names: Any) -> Sequence[str]:
    return names if isinstance(names, list) else []
