#!/usr/bin/env python3
"""Makes the certificates, users and tokens of a deployment, once: what is there already is never changed.

    setup.py                      everything that docker-compose.yml needs, in deploy/variable
    setup.py gateway gw-lenina-12 a gateway's user: password, certificate and the authority's certificate

Rule 1. Run again it changes nothing. A file that was deleted is made anew, and so is what follows from it: to renew a
        secret, delete its file and run this again (docs/deployment.md, Secrets).
Rule 2. Files are 0600 in folders 0700 and belong to the user of the container that reads them, as far as we may give
        them away. No secret is printed or stands in an argument or an environment.
Rule 3. A file appears whole or not at all: temporary name, write, fsync, rename.
Rule 4. Python's standard library and openssl are all that is needed.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Folder of deploy/variable -> whom its files belong to: the user and group of that container in docker-compose.yml.
# mosquitto, influxdb, postgres and grafana have these numbers in their published images; 10001 is our Dockerfile's.
OWNERS = {"mosquitto": 1883, "influxdb": 1000, "postgres": 999, "centre": 10001, "grafana": 472, "gateways": 10001}
ORG, BUCKET, ADMIN = "meterline", "readings", "admin"
RESERVED = ("centre", "health")  # users of the broker that are no gateways
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"  # docs/contract.md, Names

# Days. Whoever renews the authority visits every gateway; the broker's own certificate is renewed by deleting it.
AUTHORITY_DAYS, SERVER_DAYS, CLIENT_DAYS, WARN_DAYS = 3650, 825, 1825, 60
# mosquitto's own count (2.0, mosquitto_passwd). It slows guessing; nobody guesses 256 random bits.
ITERATIONS = 101
PATIENCE = 30.0  # seconds for an answer of InfluxDB, which opens its files at its first start


class Trouble(Exception):
    """What the operator must look at; its text says what to do."""


class Folder:
    """deploy/variable, or another folder in its place."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._made: set[Path] = set()

    def path(self, name: str) -> Path:
        """Where a file stands, its folders made."""
        path = self.root / name
        for folder in reversed([p for p in path.parents if p == self.root or self.root in p.parents]):
            self._own_folder(folder)
        return path

    def put(self, name: str, content: bytes) -> None:
        """Write a file whole, for its owner alone."""
        path = self.path(name)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # 0600
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        self._give(Path(temporary))
        Path(temporary).replace(path)
        fsync_folder(path.parent)
        print(f"made {name}")

    def get(self, name: str) -> bytes | None:
        """A file's content; None where it is not there."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None

    def secret(self, name: str) -> str:
        """The secret in this file, made of 256 random bits if it is not there."""
        if self.get(name) is None:
            self.put(name, secrets.token_urlsafe(32).encode() + b"\n")
        text = (self.get(name) or b"").decode().split("\n", 1)[0]
        if not text:
            raise Trouble(f"{self.root / name} is empty: delete it, run this again")
        return text

    def copy(self, source: str, name: str) -> None:
        """A file that is the same as another one."""
        content = self.get(source)
        assert content is not None
        if self.get(name) != content:
            self.put(name, content)

    def _own_folder(self, folder: Path) -> None:
        # A folder that is there may be one that the container engine made for a mount, as root's and open.
        if folder not in self._made:
            self._made.add(folder)
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.stat().st_mode & 0o777 != 0o700:
                folder.chmod(0o700)
            self._give(folder)

    def _give(self, path: Path) -> None:
        """To the user of the container that reads it. Only root may give away; else it stays ours."""
        owner = OWNERS.get(path.relative_to(self.root).parts[0] if path != self.root else "")
        if owner is not None and os.geteuid() == 0 and path.stat().st_uid != owner:
            os.chown(path, owner, owner)


def fsync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


# ----------------------------------------------------------------------------- certificates


def openssl(*arguments: str | Path) -> str:
    """Run openssl; what it prints. Raises Trouble."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, umask=0o077)
    if done.returncode:
        raise Trouble(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout


EC = ("-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def authority(folder: Folder) -> None:
    """Our own authority: it vouches for the broker and for gateways, and for nobody else."""
    if folder.get("authority/ca.pem") is not None:
        if folder.get("authority/ca.key") is None:
            raise Trouble(f"{folder.root}/authority has no ca.key: restore it from a backup")
        return
    with tempfile.TemporaryDirectory() as scratch:
        if folder.get("authority/ca.key") is None:
            key = Path(scratch, "ca.key")
            openssl("genpkey", *EC, "-out", key)
            folder.put("authority/ca.key", key.read_bytes())
        pem = Path(scratch, "ca.pem")
        openssl("req", "-x509", "-key", folder.root / "authority/ca.key", "-days", str(AUTHORITY_DAYS),
                "-subj", "/CN=Meterline authority", "-addext", "basicConstraints=critical,CA:TRUE,pathlen:0",
                "-addext", "keyUsage=critical,keyCertSign", "-out", pem)  # fmt: skip
        folder.put("authority/ca.pem", pem.read_bytes())


def certificate(folder: Folder, name: str, common: str, days: int, extensions: str) -> None:
    """`name`.key and `name`.pem, signed by our authority. One without the other is made anew."""
    if folder.get(f"{name}.key") is not None and folder.get(f"{name}.pem") is not None:
        return
    with tempfile.TemporaryDirectory() as scratch:
        key, request, pem, more = (Path(scratch, part) for part in ("key", "csr", "pem", "ext"))
        more.write_text(f"basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n{extensions}\n")
        openssl("genpkey", *EC, "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={common}", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", folder.root / "authority/ca.pem", "-days", str(days),
                "-CAkey", folder.root / "authority/ca.key", "-set_serial", f"0x{secrets.token_hex(16)}",
                "-extfile", more, "-out", pem)  # fmt: skip
        folder.put(f"{name}.key", key.read_bytes())
        folder.put(f"{name}.pem", pem.read_bytes())


def broker_certificate(folder: Folder, names: list[str]) -> None:
    """The broker's certificate for these host names and addresses; says when it is not for them or runs out."""
    entries = ",".join(f"{'IP' if is_address(name) else 'DNS'}:{name}" for name in names)
    certificate(folder, "mosquitto/server", "Meterline broker", SERVER_DAYS,
                f"extendedKeyUsage=serverAuth\nsubjectAltName={entries}")  # fmt: skip
    pem = folder.root / "mosquitto/server.pem"
    shown = openssl("x509", "-in", pem, "-noout", "-ext", "subjectAltName")
    held = {part.split(":", 1)[1].strip() for part in re.findall(r"(?:DNS|IP Address):[^,\s]+", shown)}
    renew = f"delete {pem}, run this again, restart the broker"
    if missing := [name for name in names if name not in held]:
        say(f"the broker's certificate does not hold {', '.join(missing)}: {renew}")
    if "will expire" in check_end(pem):
        say(f"the broker's certificate ends within {WARN_DAYS} days: {renew}")


def check_end(pem: Path) -> str:
    """openssl's words on whether a certificate ends soon; its status says the same and is no fault."""
    command = ["openssl", "x509", "-in", str(pem), "-noout", "-checkend", str(WARN_DAYS * 86_400)]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def is_address(name: str) -> bool:
    """Whether it is an IP address rather than a name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


# ----------------------------------------------------------------------------- users of the broker


def verifier(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> str:
    """A line's second half in mosquitto's password file: `$7$iterations$salt$PBKDF2-HMAC-SHA512`."""
    salt = secrets.token_bytes(12) if salt is None else salt  # 2.0 takes salts of 12 bytes and no others
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, iterations, 64)
    return f"$7${iterations}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def verifies(line: str, password: str) -> bool:
    """Whether a verifier is this password's."""
    try:
        _, kind, iterations, salt, _ = line.split("$")
        return kind == "7" and hmac.compare_digest(
            verifier(password, base64.b64decode(salt, validate=True), int(iterations)), line
        )
    except ValueError:
        return False


def broker_users(folder: Folder) -> None:
    """The broker's password file follows the password files that are here; lines of other users stay."""
    wanted = {"centre": folder.secret("centre/mqtt_password"), "health": folder.secret("mosquitto/health_password")}
    for path in sorted((folder.root / "gateways").glob("*/password")):
        wanted[path.parent.name] = folder.secret(f"gateways/{path.parent.name}/password")
    held = dict(line.split(":", 1) for line in (folder.get("mosquitto/passwords") or b"").decode().splitlines() if line)
    changed = {name: verifier(word) for name, word in wanted.items() if not verifies(held.get(name, ""), word)}
    if changed:
        lines = "".join(f"{name}:{line}\n" for name, line in sorted((held | changed).items()))
        folder.put("mosquitto/passwords", lines.encode())
        say(f"users of the broker: {', '.join(sorted(changed))} (a running broker reads them at SIGHUP)")
    # mosquitto_sub takes its options from this file (its manual, "Files"), so the health check shows no password.
    options = f"-u health\n-P {wanted['health']}\n".encode()
    if folder.get("mosquitto/health/mosquitto_sub") != options:
        folder.put("mosquitto/health/mosquitto_sub", options)


def gateway(folder: Folder, name: str) -> None:
    """A gateway's user: a password, a certificate of this name, and what proves the broker."""
    if not re.fullmatch(NAME, name) or name.lower() in RESERVED:
        raise Trouble(f"{name!r} can be no gateway: 1 to 63 of A-Z a-z 0-9 . _ - and not {' or '.join(RESERVED)}")
    for other in (folder.root / "gateways").glob("*"):
        if other.name != name and other.name.lower() == name.lower():
            raise Trouble(f"{name} differs from {other.name} in case only")
    folder.secret(f"gateways/{name}/password")
    folder.copy("authority/ca.pem", f"gateways/{name}/ca.pem")
    certificate(folder, f"gateways/{name}/client", name, CLIENT_DAYS, "extendedKeyUsage=clientAuth")


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
    folder = Folder(given.variable)
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
