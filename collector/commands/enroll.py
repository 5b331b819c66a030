"""`meterline gateway enroll`: a new gateway's user at the broker, its secrets, and the gateway.yaml it begins with."""

from __future__ import annotations

import os
from pathlib import Path

import click

from collector import localtime
from collector.commands.this_zone import this_zone
from collector.credentials import kit
from collector.credentials.folder import OWNERS, Folder, Trouble
from collector.exits import UsageFault


@click.command(short_help="Make a new gateway's user, secrets and gateway.yaml.")
@click.argument("name")
@click.option(
    "--broker", envvar="METERLINE_BROKER_NAMES", required=True,
    help="Host by which gateways reach the broker, or mqtts://host:port. [METERLINE_BROKER_NAMES: the first]",
)  # fmt: skip
@click.option(
    "--variable", type=click.Path(file_okay=False, path_type=Path), default=Path("deploy/variable"), show_default=True,
    help="What deploy/setup.py made.",
)  # fmt: skip
@click.option("--certificate", is_flag=True, help="The gateway proves itself by its certificate, not by a password.")
@click.option(
    "--passwords", type=click.Path(dir_okay=False, path_type=Path),
    help="Instead of --variable: the password file of a mosquitto that stands already.",
)  # fmt: skip
@click.option(
    "--ca-file", type=click.Path(dir_okay=False, path_type=Path), help="With --passwords: who vouches for it."
)
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path),
    help="With --passwords: a new folder for the gateway's files.  [default: NAME]",
)  # fmt: skip
@click.option("--time-zone", default=lambda: this_zone() or "UTC", help="Of its meters.  [default: this computer's]")
@click.option("--renew", is_flag=True, help="Give a new password to a gateway whose files were taken to it.")
def enroll(
    *,
    name: str,
    broker: str,
    variable: Path,
    certificate: bool,
    passwords: Path | None,
    ca_file: Path | None,
    out: Path | None,
    time_zone: str,
    renew: bool,
) -> None:
    """Make what the gateway NAME needs. Run again it changes nothing.

    The broker's rule needs no line for it: it is a pattern over names (deploy/mosquitto/acl).
    """
    broker = broker.replace(",", " ").split()[0] if broker.strip(" ,") else ""
    if not broker:
        raise UsageFault("--broker: the name by which gateways reach the broker is wanted, such as meters.example.org")
    if passwords is None and (ca_file or out):
        raise UsageFault("--ca-file and --out belong to --passwords")
    if passwords is not None and (certificate or ca_file is None):
        raise UsageFault(
            "--passwords: --ca-file is wanted too; certificates come from an authority in --variable alone"
        )
    os.umask(0o077)
    try:
        localtime.zone(time_zone)
        if passwords is None:
            folder = Folder(variable, OWNERS, _tell)
            file = kit.shipped(folder, name, broker=broker, zone=time_zone, certificate=certificate, renew=renew)
            signal = "docker compose kill --signal HUP mosquitto"
        else:
            assert ca_file is not None
            folder = Folder(out or Path(name), say=_tell)
            file = kit.beside(folder, passwords, ca_file, name, broker=broker, zone=time_zone, renew=renew)
            signal = "systemctl kill --signal HUP mosquitto"
            _tell("the broker needs the rule by pattern of deploy/mosquitto/acl, once for all gateways")
    except (Trouble, ValueError, OSError) as error:
        raise UsageFault(str(error)) from None
    click.echo(file)
    wanted = "client.pem, client.key" if certificate else "password"
    _tell(f"""next:
  1. tell the broker: {signal}
  2. write its lines and meters into {file} (its time zone is {time_zone}); meterline config check {file}
  3. take gateway.yaml, ca.pem, {wanted} to /etc/meterline on the gateway (docs/gateway-install.md)
  4. delete here what was taken there; the broker keeps what it needs
  5. import its points: meterline registry import points.csv --config central.yaml""")


def _tell(text: str) -> None:
    click.echo(text, err=True)
