"""The broker's users: mosquitto's password file follows the password files that are here; a gateway is one of them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping

from collector.credentials.certificates import CLIENT_DAYS, certificate
from collector.credentials.folder import Folder, Trouble

RESERVED = ("centre", "health")  # users of the broker that are no gateways
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"  # docs/contract.md, Names
PASSWORDS = "mosquitto/passwords"
# mosquitto's own count (2.0, mosquitto_passwd). It slows guessing; nobody guesses 256 random bits.
ITERATIONS = 101


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


def names(passwords: bytes) -> set[str]:
    """The users in a password file."""
    return {line.split(":", 1)[0] for line in passwords.decode().splitlines() if line}


def followed(passwords: bytes, wanted: Mapping[str, str]) -> tuple[bytes, list[str]]:
    """A password file in which these users have these passwords, others stay as they are; and who was changed."""
    held = dict(line.split(":", 1) for line in passwords.decode().splitlines() if line)
    changed = {name: verifier(word) for name, word in wanted.items() if not verifies(held.get(name, ""), word)}
    return "".join(f"{name}:{line}\n" for name, line in sorted((held | changed).items())).encode(), sorted(changed)


def broker_users(folder: Folder) -> None:
    """The broker's password file follows the password files that are here; lines of other users stay."""
    wanted = {"centre": folder.secret("centre/mqtt_password"), "health": folder.secret("mosquitto/health_password")}
    for path in sorted((folder.root / "gateways").glob("*/password")):
        wanted[path.parent.name] = folder.secret(f"gateways/{path.parent.name}/password")
    passwords, changed = followed(folder.get(PASSWORDS) or b"", wanted)
    if changed:
        folder.put(PASSWORDS, passwords)
        folder.say(f"users of the broker: {', '.join(changed)} (a running broker reads them at SIGHUP)")
    # mosquitto_sub takes its options from this file (its manual, "Files"), so the health check shows no password.
    options = f"-u health\n-P {wanted['health']}\n".encode()
    if folder.get("mosquitto/health/mosquitto_sub") != options:
        folder.put("mosquitto/health/mosquitto_sub", options)


def check_name(name: str, others: Iterable[str]) -> None:
    """Raise Trouble when no gateway can be called so, beside these users of the broker."""
    if not re.fullmatch(NAME, name) or name.lower() in RESERVED:
        raise Trouble(f"{name!r} can be no gateway: 1 to 63 of A-Z a-z 0-9 . _ - and not {' or '.join(RESERVED)}")
    for other in others:
        if other != name and other.lower() == name.lower():
            raise Trouble(f"{name} differs from {other} in case only")


def gateway(folder: Folder, name: str) -> None:
    """A gateway's user: a password, a certificate of this name, and what proves the broker."""
    kits = {kit.name for kit in (folder.root / "gateways").glob("*")}
    check_name(name, kits | names(folder.get(PASSWORDS) or b""))
    folder.secret(f"gateways/{name}/password")
    folder.copy("authority/ca.pem", f"gateways/{name}/ca.pem")
    certificate(folder, f"gateways/{name}/client", name, CLIENT_DAYS, "extendedKeyUsage=clientAuth")
