"""What an operator can set: flags before environment (`SECAGG_SERVER_…`) before a TOML file before defaults."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError

from secagg.errors import ConfigError
from secagg.privacy.finder import DEFAULT_DELTA, DEFAULT_EPSILON
from secagg.privacy.ledger import Budget
from secagg.transport.addresses import TcpAddress, parse_tcp
from secagg_server.storage.sqlite.folder import StateFolder

ENV_PREFIX = "SECAGG_SERVER_"
_OF_KUBERNETES = re.compile(r"service_host|service_port(_\w+)?|port(_\d+_(tcp|udp|sctp)(_(proto|port|addr))?)?")
"""What Kubernetes puts into the environment of each pod when a Service is called `secagg-server`."""

_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:]+\])(:[0-9]{1,5})?")

ControlAccess = Literal["owner", "group"]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Seconds = Annotated[float, Field(gt=0, le=604_800)]


def _from_text(value: object) -> object:
    """Read the JSON of a setting that came as the text of a flag."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError('should be JSON, as {"epsilon": 2.5, "delta": 1e-5}') from None


FromText = BeforeValidator(_from_text)


def _limit(unit: str, reached: str) -> dict[str, JsonValue]:
    """What the reference says of a number: its unit, and what happens when it is reached."""
    return {"unit": unit, "reached": reached}


class BudgetSetting(BaseModel):
    """A privacy budget. See `secagg.privacy.ledger.Budget`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epsilon: Annotated[float, Field(gt=0, allow_inf_nan=False)] = DEFAULT_EPSILON
    delta: Annotated[float, Field(gt=0, lt=1)] = DEFAULT_DELTA

    @property
    def value(self) -> Budget:
        """The budget in the form that the ledger takes."""
        return Budget(self.epsilon, self.delta)


class Settings(BaseSettings):
    """Every setting with its default. Relative paths start at the working directory."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    listen: str = Field(
        "127.0.0.1:7443", description="Data plane: HOST:PORT for participants; port 0 picks a free one."
    )
    control: str = Field(
        "unix:secagg-control.sock",
        description="Control plane: unix:PATH, or a loopback HOST:PORT, which every user of the machine can reach.",
    )
    control_access: ControlAccess = Field(
        "owner",
        description="Who may use a control socket: its owner alone (mode 0600), or its group too (0660), which is the "
        "folder's if the folder is setgid.",
    )
    engine: Literal["local", "ray"] = Field(
        "local",
        description="Where inputs are taken and sums are unmasked: in this process, or also by ingress workers that "
        "Ray places on the nodes of a cluster (extra `cluster`).",
    )
    ray_address: str | None = Field(
        None, description="Ray cluster of the engine `ray`: HOST:PORT of its head node, or `auto` for this machine's."
    )
    ingress_workers: Count = Field(
        1,
        description="Ingress workers that the engine `ray` keeps running.",
        json_schema_extra=_limit("workers", "No more are started."),
    )
    link: str | None = Field(
        None,
        description="Link: HOST:PORT for ingress workers, which take participants' connections and inputs beside this "
        "process; none if it is not set, and a free port of loopback with the engine `ray`. Only who has the "
        "coordinator's key is let in.",
    )
    ingress_status: str | None = Field(
        None,
        description="Status port of each ingress worker: HOST:PORT for its metrics and health over HTTP; none if it is "
        "not set. Port 0 picks a free one.",
    )
    ingress_listen: str = Field(
        "127.0.0.1:0",
        description="HOST:PORT where each ingress worker listens for participants; port 0 picks a free one.",
    )
    status: str | None = Field(
        None, description="Status port: HOST:PORT for metrics, health and the status page over HTTP; customary is 9464."
    )
    gateway: str | None = Field(
        None,
        description="Gateway: HOST:PORT for browsers and phones, which call over HTTPS and show tokens; none if it is "
        "not set.",
    )
    gateway_token_key: Path | None = Field(
        None,
        description="Keys of the gateway's tokens: 1 to 4 lines of 64 hexadecimal digits, readable by the owner alone. "
        "The first makes tokens, and each of them is believed. Read again when the file changes.",
    )
    gateway_certificate: Path | None = Field(
        None,
        description="The gateway's TLS certificate chain, PEM, which browsers have to believe; the coordinator's own "
        "if it is not set.",
    )
    gateway_key: Path | None = Field(None, description="Its private key, PEM, readable by its owner alone.")
    gateway_origins: Annotated[list[str], FromText] = Field(
        [],
        description="Origins of the pages whose scripts may call the gateway, such as https://app.example; a flag "
        "takes a JSON list. None by default: then no page may call, and an app that is no page may.",
    )
    gateway_connections: Count = Field(
        1000,
        description="Connections of the gateway at once.",
        json_schema_extra=_limit("connections", "One that has shown no token is closed, or one of who has most."),
    )
    gateway_requests_per_s: Count = Field(
        100,
        description="Requests of one participant at the gateway within a second.",
        json_schema_extra=_limit("requests", "Another request fails with `LimitError`; clients try again."),
    )
    gateway_idle_s: Seconds = Field(
        60.0,
        description="Seconds that the gateway holds a call open while its participant asks for nothing.",
        json_schema_extra=_limit("seconds", "The call ends, as with a connection that breaks; clients make it again."),
    )
    certificate: Path = Field(description="The coordinator's TLS certificate chain, PEM, ECDSA P-256.")
    key: Path = Field(description="Its private key, PEM, readable by its owner alone.")
    participant_ca: Path = Field(description="The deployment's CA, PEM: who may take part.")
    crl: Path | None = Field(
        None,
        description="Revocation lists of the CA, PEM: whose certificates are refused before they expire. Read again "
        "when the file changes.",
    )
    denied: Path | None = Field(
        None,
        description="Deny list: a line `participant ID`, `organisation NAME` or `certificate SHA-256` for each that "
        "may not take part. Read again when the file changes.",
    )
    log_format: Literal["json", "console"] = Field("json", description="Log lines for programs or for people.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level logged.")
    max_open_rounds: Count = Field(
        32,
        description="Rounds under way at once; more are refused.",
        json_schema_extra=_limit("rounds; each group of a round counts as one", "OpenRound fails with `LimitError`."),
    )
    keep_finished_rounds: Count = Field(
        32,
        description="Finished rounds remembered, at least max_open_rounds; who ended first is forgotten first, but no "
        "sum that nobody has fetched.",
        json_schema_extra=_limit("rounds", "The round that ended first is forgotten, if its sum was fetched."),
    )
    keep_finished_s: Seconds = Field(
        900.0,
        description="Seconds after its end until a round is forgotten, whoever has fetched its sum or not.",
        json_schema_extra=_limit("seconds", "Calls about the round fail with `UnknownRoundError`."),
    )
    remember_releases: Count = Field(
        200,
        description="Past sums remembered, so that sums of one model never show few; the oldest forgotten first.",
        json_schema_extra=_limit("sums", "The oldest sum is forgotten, and later ones are not compared with it."),
    )
    max_per_organisation: Count | None = Field(
        None,
        description="Participants of one organisation in a round, or in a group of one; no limit if it is not set.",
        json_schema_extra=_limit("participants", "One more is refused with `NotInRoundError`, and not offered rounds."),
    )
    quarantine_after: int = Field(
        3,
        ge=0,
        le=100,
        description="Rounds in which a participant's fault was proven until it is kept out of all rounds; 0 for never.",
        json_schema_extra=_limit("rounds", "It is refused with `NotInRoundError`, until an operator forgives it."),
    )
    max_calls_per_participant: Count = Field(
        16,
        description="Calls of one participant under way at once in each round, and as many that name none yet.",
        json_schema_extra=_limit("calls", "Another call fails with `LimitError`; clients try again."),
    )
    max_calls: Count = Field(
        20_000,
        description="Calls under way at once on the data plane.",
        json_schema_extra=_limit("calls", "Another call fails with `LimitError`; clients try again."),
    )
    max_connections_per_participant: Count = Field(
        8,
        description="Connections of one participant; a newer one closes the oldest.",
        json_schema_extra=_limit("connections", "The oldest is closed, and logged as `too_many_connections`."),
    )
    read_timeout_s: Seconds = Field(
        30.0,
        description="Seconds within which a message arrives whole; one of a phase may take until its end.",
        json_schema_extra=_limit("seconds", "The call fails with `LimitError`; clients try again."),
    )
    write_timeout_s: Seconds = Field(
        60.0,
        description="Seconds within which a participant takes each part of an answer, or its connection is closed.",
        json_schema_extra=_limit("seconds", "The connection is closed, with all calls on it."),
    )
    shutdown_grace_s: Seconds = Field(
        5.0,
        description="Seconds for calls to end when the coordinator stops, after rounds were suspended, or aborted if "
        "there is no state_dir.",
        json_schema_extra=_limit("seconds", "Calls that are still under way are cut off."),
    )
    state_dir: Path | None = Field(
        None,
        description="Folder of all that survives a restart: rounds, finished sums, past sums, ledgers; without one all "
        "of it is in memory, and a restart forgets it.",
    )
    ledger_dir: Path | None = Field(
        None,
        description="Folder of the privacy ledgers, if it is not the folder ledgers in state_dir; without either a "
        "restart forgets what was spent.",
    )
    budget: Annotated[BudgetSetting, FromText] = Field(
        BudgetSetting(),
        description="Privacy budget of each task with noise: epsilon, delta; a flag takes JSON.",
        json_schema_extra=_limit("ε and δ", "OpenRound fails with `BudgetExceeded`."),
    )
    budgets: Annotated[dict[str, BudgetSetting], FromText] = Field(
        {},
        description="The same for single tasks by name, whose rounds must all have noise; a flag takes JSON.",
        json_schema_extra=_limit("ε and δ", "OpenRound fails with `BudgetExceeded`."),
    )
    unmask_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that unmask a sum; 0 for one per processor.",
        json_schema_extra=_limit("threads", "Sums of other rounds wait until a thread is free."),
    )

    @property
    def ledgers(self) -> Path | None:
        """The folder of the privacy ledgers; None if they are in memory."""
        return self.ledger_dir or (self.state_dir and StateFolder(self.state_dir).ledgers)

    @field_validator("state_dir", "ledger_dir", mode="before")
    @classmethod
    def _names_a_folder(cls, value: object) -> object:
        """An empty variable would name the working directory."""
        if value == "":  # check: folder-named
            raise ValueError("should name a folder, or be left out")
        return value

    @model_validator(mode="after")
    def _keeps_ledgers_apart(self) -> Self:
        if self.ledger_dir is not None and self.ledger_dir == self.state_dir:
            raise ValueError(
                f"state_dir and ledger_dir are both {self.state_dir}: give ledgers a folder of their own, or leave "
                "ledger_dir out, then they are in the folder ledgers of state_dir"
            )
        return self

    @model_validator(mode="after")
    def _keeps_what_ends_together(self) -> Self:
        """All open rounds may end at once, and nobody could have fetched the first by then."""
        if self.keep_finished_rounds < self.max_open_rounds:
            raise ValueError(
                f"keep_finished_rounds ({self.keep_finished_rounds}) must be at least max_open_rounds "
                f"({self.max_open_rounds}): raise the one or lower the other"
            )
        return self

    @model_validator(mode="after")
    def _has_a_cluster(self) -> Self:
        """Ray would start a cluster of its own on this machine."""
        if (self.engine == "ray") != (self.ray_address is not None):
            raise ValueError("the engine ray and ray_address go together: name the cluster, or leave both out")
        return self

    @model_validator(mode="after")
    def _has_all_of_a_gateway(self) -> Self:
        """Without keys of tokens the gateway could not tell who calls."""
        if (self.gateway is None) != (self.gateway_token_key is None):
            raise ValueError("gateway and gateway_token_key go together: name the file of keys, or leave both out")
        if (self.gateway_certificate is None) != (self.gateway_key is None):
            raise ValueError("gateway_certificate and gateway_key go together: name both files, or leave both out")
        return self

    @field_validator("gateway_origins")
    @classmethod
    def _are_origins(cls, value: list[str]) -> list[str]:
        """A browser compares them letter by letter; `*` would let every page call."""
        for origin in value:
            if not _ORIGIN.fullmatch(origin):  # check: gateway-origins
                raise ValueError(f"should be origins as browsers write them, such as https://app.example, not {origin}")
        return value

    @model_validator(mode="after")
    def _has_a_socket_for_its_group(self) -> Self:
        """Every user of the machine can reach a port."""
        if self.control_access == "group" and not self.control.startswith("unix:"):
            raise ValueError(
                f"control_access is for a socket file, and control is {self.control}: write unix:PATH, or leave "
                "control_access out"
            )
        return self

    @model_validator(mode="after")
    def _has_a_port_for_each(self) -> Self:
        """The second to listen would be told of another program. What is no address is refused when it is used."""
        places: list[tuple[str, TcpAddress]] = []
        for name in ("listen", "control", "status", "link", "gateway"):
            with suppress(ConfigError):  # a socket, or none
                places.append((name, parse_tcp(getattr(self, name) or "")))
        for (one, first), (other, second) in combinations(places, 2):
            same = first.host == second.host or {first.host, second.host} & {"0.0.0.0", "[::]"}  # noqa: S104, compared
            if same and first.port == second.port != 0:
                raise ValueError(f"{one} and {other} have the same port, {first.port}: give each its own")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let flags come before the environment, and the environment before the file."""
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls)


def load_settings(file: Path | None, flags: Mapping[str, object]) -> Settings:
    """The settings of a command line.

    Args:
        file: TOML with settings by name; none if None.
        flags: settings by name; None means not given.

    Raises:
        ConfigError: names the setting and what is wrong with it.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"settings file {file} does not exist")
    _check_environment(os.environ)

    class FromFile(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    try:
        return FromFile(**{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(
            "; ".join(_trouble(".".join(map(str, e["loc"])), e["type"], e["msg"], file) for e in error.errors())
        ) from None
    except OSError as error:
        raise ConfigError(f"settings file {file}: {error.strerror}") from None
    except (SettingsError, ValueError) as error:  # ValueError: not TOML
        raise ConfigError(f"settings: {error}{f' (file {file})' if file else ''}") from None


def _check_environment(environment: Iterable[str]) -> None:
    """Refuse variables that look like settings and are none: a misspelt one would be passed over without a word.

    Raises:
        ConfigError: names the variable, and the setting that is spelt most like it.
    """
    known = {*Settings.model_fields, "config"}
    for variable in sorted(environment):
        name = variable.upper().removeprefix(ENV_PREFIX).lower()
        ours = variable.upper().startswith(ENV_PREFIX) and not _OF_KUBERNETES.fullmatch(name)
        if ours and name not in known:
            hint = _alike(name.upper(), [setting.upper() for setting in known], ENV_PREFIX)
            raise ConfigError(f"the environment variable {variable} names no setting{hint}")


def _alike(name: str, known: Iterable[str], prefix: str = "") -> str:
    found = get_close_matches(name, known, n=1)
    return f"; did you mean {prefix}{found[0]}?" if found else ""


def _trouble(name: str, kind: str, message: str, file: Path | None) -> str:
    if kind == "missing":
        flag = "--" + name.replace("_", "-")
        return f"setting {name} is missing: give {flag}, {ENV_PREFIX}{name.upper()} or a line in the settings file"
    if not name:  # of several settings: the message names them
        return f"settings: {message.removeprefix('Value error, ')}"
    if kind == "extra_forbidden":
        # Flags are known to the command, and the environment was looked at before.
        return f"unknown setting {name}{f' in {file}' if file else ''}{_alike(name, Settings.model_fields)}"
    return f"setting {name}: {message[0].lower()}{message[1:]}"
