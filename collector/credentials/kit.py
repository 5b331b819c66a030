"""What a new gateway is given: a folder with its secrets and a gateway.yaml that passes `config check`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from collector.credentials.certificates import authority
from collector.credentials.folder import Folder, Trouble, fsync_folder
from collector.credentials.users import PASSWORDS, broker_users, check_name, followed, gateway, names

PASSWORD_PORT, CERTIFICATE_PORT = 8883, 8884  # deploy/mosquitto/mosquitto.conf

SKELETON = """\
# The gateway {name}. Before it is started: meterline config check gateway.yaml
schema: 1
gateway: {name}
time_zone: {zone}            # where its meters hang; their days and months end by it
interval: 15m
mqtt:
  url: {url}
{proof}  ca_file: ca.pem
spool: {{path: /var/lib/meterline/spool.db, max_mb: 512, keep: 40d}}
# log: json                        # one JSON object a line; else plain
# metrics: {{listen: "127.0.0.1:9101"}}   # for Prometheus
lines: []
# In the place of `lines: []`, each wire with its meters (meterline profile list; ls /dev/serial/by-id):
# lines:
#   - name: riser-1
#     port: /dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A1B2C3D4-if00-port0
#     meters:
#       - {{id: lenina-12-001, profile: eastron-sdm630, address: 1, serial_number: "12345678"}}
"""
BY_PASSWORD = "  username: {name}\n  password_file: password\n"
BY_CERTIFICATE = "  cert_file: client.pem\n  key_file: client.key\n"


def skeleton(name: str, url: str, zone: str, *, certificate: bool) -> str:
    """The text of a gateway.yaml without lines."""
    proof = (BY_CERTIFICATE if certificate else BY_PASSWORD).format(name=name)
    return SKELETON.format(name=name, url=url, zone=zone, proof=proof)


def broker_url(broker: str, port: int) -> str:
    """The broker's address as gateway.yaml wants it: as given, or `mqtts://` and the usual port around a host."""
    if "://" in broker:
        return broker
    host = f"[{broker}]" if broker.count(":") > 1 and not broker.startswith("[") else broker
    return f"mqtts://{host}" if host.rpartition(":")[2].isdigit() and host.count(":") == 1 else f"mqtts://{host}:{port}"


def shipped(folder: Folder, name: str, *, broker: str, zone: str, certificate: bool, renew: bool) -> Path:
    """A kit for the broker of docker-compose.yml, by what deploy/setup.py made in `folder`. Raises Trouble."""
    if folder.get("authority/ca.pem") is None or folder.get(PASSWORDS) is None:
        raise Trouble(f"{folder.root} was not made by deploy/setup.py (authority, mosquitto/passwords): run that first")
    kit = f"gateways/{name}"
    known = names(folder.get(PASSWORDS) or b"")
    check_name(name, known)
    if name in known and folder.get(f"{kit}/password") is None and not renew:
        raise _taken(name)
    authority(folder)  # says so when its key is not there
    gateway(folder, name)
    broker_users(folder)
    url = broker_url(broker, CERTIFICATE_PORT if certificate else PASSWORD_PORT)
    return _finish(folder, kit, skeleton(name, url, zone, certificate=certificate))


def beside(folder: Folder, passwords: Path, ca: Path, name: str, *, broker: str, zone: str, renew: bool) -> Path:
    """A kit in `folder` for a mosquitto of somebody else, with this password file. Raises Trouble."""
    try:
        before = passwords.read_bytes()
        proof = ca.read_bytes()
    except OSError as error:
        raise Trouble(f"{error.filename} cannot be read: {error.strerror}") from None
    known = names(before)
    check_name(name, known)
    if name in known and folder.get("password") is None and not renew:
        raise _taken(name)
    after, changed = followed(before, {name: folder.secret("password")})
    if folder.get("ca.pem") != proof:
        folder.put("ca.pem", proof)
    if changed:
        _replace(passwords, after)
        folder.say(f"user of the broker: {name} (a running broker reads {passwords} at SIGHUP)")
    return _finish(folder, "", skeleton(name, broker_url(broker, PASSWORD_PORT), zone, certificate=False))


def _finish(folder: Folder, kit: str, text: str) -> Path:
    name = f"{kit}/gateway.yaml".lstrip("/")
    if folder.get(name) is None:
        folder.put(name, text.encode())
    return folder.root / name


def _taken(name: str) -> Trouble:
    return Trouble(
        f"{name} is a user of the broker already, and its password is not here: it was taken to the gateway. A new one "
        "would lock that out until it has it too; if that is what you want, say --renew"
    )


def _replace(path: Path, content: bytes) -> None:
    """Another content for a file that the broker reads: whole or not at all, with its owner and its rights."""
    about = path.stat()
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        os.fchmod(file.fileno(), about.st_mode & 0o777)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), about.st_uid, about.st_gid)
        file.flush()
        os.fsync(file.fileno())
    Path(temporary).replace(path)
    fsync_folder(path.parent)
