"""Our own certificate authority, and the certificates of the broker and its gateways, made by openssl."""

from __future__ import annotations

import ipaddress
import re
import secrets
import subprocess
import tempfile
from pathlib import Path

from collector.credentials.folder import Folder, Trouble

# Days. Whoever renews the authority visits every gateway; the broker's own certificate is renewed by deleting it.
AUTHORITY_DAYS, SERVER_DAYS, CLIENT_DAYS, WARN_DAYS = 3650, 825, 1825, 60


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
        folder.say(f"the broker's certificate does not hold {', '.join(missing)}: {renew}")
    if "will expire" in check_end(pem):
        folder.say(f"the broker's certificate ends within {WARN_DAYS} days: {renew}")


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
