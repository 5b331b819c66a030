#!/usr/bin/env python3
"""Makes the certificates, users and tokens of a deployment, once: what is there already is never changed.

    setup.py                      everything that docker-compose.yml needs, in deploy/variable
    setup.py gateway gw-lenina-12 a gateway's user: password, certificate and the authority's certificate

Rule 1. Run again it changes nothing. A file that was deleted is made anew, and so is what follows from it: to renew a
        secret, delete its file and run this again (docs/deployment.md, Secrets).
Rule 2. Files belong to the user of the container that reads them, as far as we may give them away; more rules about
        them are in collector/credentials/folder.py.
Rule 3. Python's standard library and openssl are all that is needed: beside a clone nothing has to be installed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a clone's own; in the image it is installed

from collector.credentials.certificates import authority, broker_certificate
from collector.credentials.folder import OWNERS, Folder, Trouble
from collector.credentials.users import broker_users, gateway

ORG, BUCKET, ADMIN = "meterline", "readings", "admin"
PATIENCE = 30.0  # seconds for an answer of InfluxDB, which opens its files at its first start


# ----------------------------------------------------------------------------- InfluxDB


class Influx:
    """The HTTP interface of an InfluxDB 2 server, as far as it is needed once."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON. Raises Trouble."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Token {self._token}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise Trouble(f"InfluxDB answers {error.code} to {method} {path}: {error.read(500)!r}") from None
        except OSError as error:
            raise Trouble(f"InfluxDB at {self._url} does not answer: {error}") from None
        return json.loads(text) if text else None

    def first_start(self, password: str) -> None:
        """Organisation, bucket without an end, operator: once, when the server knows nobody yet."""
        if self.call("GET", "/api/v2/setup")["allowed"]:
            self.call("POST", "/api/v2/setup", {
                "username": ADMIN, "password": password, "token": self._token, "org": ORG, "bucket": BUCKET,
                "retentionPeriodSeconds": 0,
            })  # fmt: skip
            say(f"InfluxDB: organisation {ORG}, bucket {BUCKET}, kept for ever")

    def token_of(self, whom: str, actions: tuple[str, ...]) -> str:
        """A new token for our bucket alone; earlier ones of the same name end."""
        org = self.call("GET", f"/api/v2/orgs?org={ORG}")["orgs"][0]["id"]
        bucket = self.call("GET", f"/api/v2/buckets?name={BUCKET}&orgID={org}")["buckets"][0]["id"]
        for known in self.call("GET", f"/api/v2/authorizations?orgID={org}")["authorizations"]:
            if known["description"] == whom:
                self.call("DELETE", f"/api/v2/authorizations/{known['id']}")
        permissions = [{"action": a, "resource": {"type": "buckets", "id": bucket, "orgID": org}} for a in actions]
        # A request names the organisation; to find it by its name is a right of its own.
        permissions.append({"action": "read", "resource": {"type": "orgs", "id": org}})
        made = self.call("POST", "/api/v2/authorizations",
                         {"orgID": org, "description": whom, "permissions": permissions})  # fmt: skip
        return str(made["token"])


def influxdb(folder: Folder, url: str) -> None:
    """First start of InfluxDB, and a token each for centre and Grafana. The operator's token is for this script."""
    server = Influx(url, folder.secret("influxdb/operator_token"))
    server.first_start(folder.secret("influxdb/admin_password"))
    try:
        server.call("GET", "/api/v2/me")
    except Trouble as error:
        raise Trouble(
            f"{error}; {folder.root}/influxdb/operator_token is not this server's. Restore the file, or make another "
            "token with `influxd recovery auth create-operator` and put it there"
        ) from None
    for whom, actions in (("centre", ("read", "write")), ("grafana", ("read",))):
        if folder.get(f"{whom}/influxdb_token") is None:
            token = server.token_of(f"meterline {whom}", actions)
            folder.put(f"{whom}/influxdb_token", token.encode() + b"\n")


# ----------------------------------------------------------------------------- all of it


def files(folder: Folder, names: list[str]) -> None:
    """Everything that needs no server."""
    authority(folder)
    broker_certificate(folder, names)
    for reader in ("mosquitto", "centre"):
        folder.copy("authority/ca.pem", f"{reader}/ca.pem")
    broker_users(folder)
    folder.secret("postgres/superuser_password")
    for user in ("centre", "grafana"):
        folder.secret(f"{user}/database_password")
        folder.copy(f"{user}/database_password", f"postgres/{user}_password")
    folder.secret("grafana/admin_password")
    folder.secret("grafana/secret_key")


def say(text: str) -> None:
    """To the operator."""
    print(text)


def main(arguments: list[str] | None = None) -> int:
    """The command. Ends with 0, or 1 and a sentence."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("what", nargs="?", choices=["all", "gateway"], default="all")
    parser.add_argument("names", nargs="*", help="names of gateways")
    parser.add_argument("--variable", type=Path, default=Path(__file__).resolve().parent / "variable")
    broker = "host names and addresses by which gateways reach the broker, separated by commas"
    parser.add_argument("--broker", default=os.environ.get("METERLINE_BROKER_NAMES", ""), help=broker)
    server = "URL of InfluxDB; without it, its tokens are left out"
    parser.add_argument("--influxdb", default=os.environ.get("METERLINE_INFLUXDB_URL", ""), help=server)
    given = parser.parse_args(arguments)
    if (given.what == "gateway") != bool(given.names):
        parser.error("names belong to `gateway`, which wants at least one")
    os.umask(0o077)
    folder = Folder(given.variable, OWNERS)
    # `mosquitto` is its name for the other containers, `localhost` for its own health check.
    names = list(dict.fromkeys(["mosquitto", "localhost", *filter(None, re.split(r"[,\s]+", given.broker))]))
    try:
        files(folder, names)
        for name in given.names:
            gateway(folder, name)
        if given.names:
            broker_users(folder)
        if given.influxdb and given.what == "all":
            influxdb(folder, given.influxdb)
    except (Trouble, OSError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
