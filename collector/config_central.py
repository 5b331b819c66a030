"""central.yaml: its form, and what no single key of it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from collector.config_fields import (
    DAY,
    SECOND,
    FilePath,
    Keep,
    LogForm,
    Section,
    Text,
    Truth,
    Version,
    Zone,
    duration,
    from_text,
    read_secret,
)
from collector.config_file import Faults, Metrics, Mqtt, at, check_mqtt, check_secret
from drivers import strict_yaml

# Without a host: the server's socket on this machine, in its usual folder or the one that `?host=` names. The other
# words are libpq's (its documentation, 34.1.2): how the connection is encrypted and the server proven.
_DATABASE_URL = (
    r"postgresql\+psycopg://([^\s:/?#@]+@)?([^\s:/?#@\[\]]+|\[[0-9A-Fa-f:.]+\])?(:[0-9]{1,5})?/[A-Za-z0-9_.-]+"
    r"(\?(&?(host|sslmode|sslrootcert|sslcert|sslkey|sslcrl)=[^\s&?#@]+)+)?"
)


def _database_url(text: str) -> str:
    if text == "sqlite" or holds_password(text):
        return text  # `load_central` says what is wrong with the second, without repeating it
    if not re.fullmatch(_DATABASE_URL, text):
        raise ValueError("sqlite is wanted, or postgresql+psycopg://user@host:port/name?sslmode=verify-full")
    return text


def holds_password(url: str) -> bool:
    """Whether the URL of a database holds a password, or what may be one."""
    return ":" in url.rpartition("@")[0].removeprefix("postgresql+psycopg://") or "password=" in url


def _http_url(text: str) -> str:
    if not re.fullmatch(r"https?://[A-Za-z0-9.\[\]:_-]+/?", text):
        raise ValueError("the address of InfluxDB is wanted, such as http://127.0.0.1:8086")
    return text.rstrip("/")


class CentralSpool(Section):
    """How long the centre keeps what it has taken in, for `store rebuild`. Milliseconds."""

    keep: Keep = 60 * DAY


class Database(Section):
    """Where registry and ledger are: `sqlite` (in `data`), or a PostgreSQL URL and the file of its password."""

    url: Annotated[str, from_text(_database_url)] = "sqlite"
    password_file: FilePath | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {"url": data} if isinstance(data, str) else data

    def password(self) -> str | None:
        """The password from its file. Raises ValueError when the file cannot be read or is empty."""
        return None if self.password_file is None else read_secret(self.password_file)


class Influx(Section):
    """An InfluxDB 2 bucket. `timeout` in milliseconds."""

    url: Annotated[str, from_text(_http_url)]
    org: Text
    bucket: Text
    token_file: FilePath
    timeout: Annotated[int, duration("1s", "10m")] = 30 * SECOND

    def token(self) -> str:
        """The token from its file. Raises ValueError when the file cannot be read or is empty."""
        return read_secret(self.token_file)


class Store(Section):
    """Where the series are: in InfluxDB, or (None) in the embedded store."""

    influxdb: Influx | None = None

    @model_validator(mode="before")
    @classmethod
    def _short(cls, data: Any) -> Any:
        return {} if data == "embedded" else data


class CentralFile(Section):
    """central.yaml."""

    schema_: Version = Field(alias="schema")
    data: FilePath
    time_zone: Zone
    mqtt: Mqtt
    spool: CentralSpool = CentralSpool()
    database: Database = Database()
    store: Store = Store()
    require_act: Truth = False
    out: FilePath | None = None
    publish_billing: Truth = False
    log: LogForm = "plain"
    metrics: Metrics | None = None


@dataclass(frozen=True)
class CentralConfig:
    """The centre's configuration, sound and complete. `data` and `out` are folders; `warnings` are lines of text."""

    data: Path
    time_zone: str
    mqtt: Mqtt
    spool: CentralSpool
    database: Database
    store: Store
    require_act: bool
    out: Path
    warnings: tuple[str, ...] = ()
    log: LogForm = "plain"
    metrics: Metrics | None = None
    publish_billing: bool = False


def load_central(path: Path) -> CentralConfig:
    """Read central.yaml. Raises ConfigError with all its faults."""
    document = strict_yaml.load(path)
    folder = path.absolute().parent
    faults = Faults()
    form = faults.validate(document, CentralFile, folder)
    check_mqtt(faults, document, folder)
    url = at(document.data, "database", "url") or at(document.data, "database")
    if isinstance(url, str) and holds_password(url):
        right = "{url: postgresql+psycopg://user@host/name, password_file: file}"
        faults.add(document, ("database",), f"the password does not stand here; write {right}")
    check_secret(faults, document, folder, "database", "password_file")
    check_secret(faults, document, folder, "store", "influxdb", "token_file")
    if at(document.data, "mqtt", "password_file") is not None and at(document.data, "mqtt", "username") is None:
        faults.add(document, ("mqtt", "password_file"), "a password needs its username")
    faults.check()
    assert form is not None  # else there were faults
    return CentralConfig(
        data=form.data,
        time_zone=form.time_zone,
        mqtt=form.mqtt,
        spool=form.spool,
        database=form.database,
        store=form.store,
        require_act=form.require_act,
        out=form.out or form.data / "out",
        warnings=tuple(faults.warnings),
        log=form.log,
        metrics=form.metrics,
        publish_billing=form.publish_billing,
    )
