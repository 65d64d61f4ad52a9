"""The command that issues a token for the gateway."""

import time
from pathlib import Path
from typing import Annotated, Final

import typer

from secagg.crypto.identity import is_participant_id
from secagg.errors import ConfigError, IdentityError
from secagg.messages import ParticipantId
from secagg.programs.keyfiles import read_private
from secagg_server.gateway.tokens import MAX_LIFE_S, issue, read_keys

_MOST_MINUTES: Final = int(MAX_LIFE_S / 60)


def token(
    participant: Annotated[str, typer.Argument(help="Whose requests it is for: the id in its certificate.")],
    key: Annotated[Path, typer.Option(help="The keys of tokens, as in the setting gateway_token_key.")],
    minutes: Annotated[int, typer.Option(min=1, max=_MOST_MINUTES, help="How long it is good for.")] = 60,
) -> None:
    """Print a token with which PARTICIPANT calls the gateway for a while.

    Whoever has the token can make the participant's calls until it expires, so hand it over as you would a password.
    An app's own backend can issue tokens, too: they are JSON Web Tokens (HS256).

    Example: secagg-server token alice --key secagg-token.keys --minutes 30
    """
    if not is_participant_id(participant):
        raise ConfigError(f"{participant!r} is no participant's id: it has 1 to 64 of A-Z a-z 0-9 . _ -")
    try:
        first, *_ = read_keys(read_private(key))
    except IdentityError as error:
        named = "" if str(key) in error.wrong else f" ({key})"
        raise IdentityError(f"{error.wrong}{named}").mended_by(error.mend) from None
    typer.echo(issue(first, ParticipantId(participant), time.time() + 60 * minutes))
