"""From settings and environment to open doors: the API, the nodes' shells, Terraform, journal."""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from pytest_vmnet.backends.hosts import Shell, SshShell
from pytest_vmnet.backends.proxmox import Endpoint
from pytest_vmnet.backends.terraform.door import TerraformDoor
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.errors import CommandError, ConfigError
from pytest_vmnet.options.settings import Settings
from pytest_vmnet.remediation.journal import FileJournal, HostJournal, Journal

_SECRET = re.compile(r"[!-~]+")
_TOKENS = ("VMNET_PROXMOX_API_TOKEN", "PROXMOX_VE_API_TOKEN")
"""Variables with a whole token, USER@REALM!NAME=SECRET."""

_SECRETIVE = ("VMNET_", "PROXMOX_", "PM_", "TF_VAR_")
_SECRET_NAME = re.compile("(TOKEN|SECRET|PASS|PASSWORD)$", re.IGNORECASE)
_SHORTEST = 6
"""What is shorter is no secret, and covering it would cover half of everything."""

_PAIRS = (
    ("PM_API_TOKEN_ID", "PM_API_TOKEN_SECRET"),
    ("PROXMOX_TOKEN_ID", "PROXMOX_TOKEN_SECRET"),
)
"""Variables with a token's id, whole or its part behind the "!", and its secret."""

_Token = tuple[str | None, str | None, str]
"""User and token name, each None where they are not told, and the secret."""


def endpoint(settings: Settings, environment: Mapping[str, str]) -> Endpoint:
    """Return where the API is and the token to use.

    Raises:
        ConfigError: Something is missing, contradicts, or cannot be read; never with the secret.
    """
    host_text = settings["proxmox_host"]
    if not host_text:
        raise ConfigError(
            "no API endpoint: pass --proxmox-host, or set PROXMOX_VE_ENDPOINT "
            "(for example https://192.0.2.2:8006/)"
        )
    try:
        host, port = Endpoint.split(host_text)
    except ValueError as problem:
        raise ConfigError(f"{settings.describe('proxmox_host')}: {problem}") from problem
    user, name, secret, source = _token(settings, environment)
    ca = settings["proxmox_ca"]
    if ca is not None and not ca.is_file():
        raise ConfigError(f"{settings.describe('proxmox_ca')}: there is no such file")
    return Endpoint(
        host=host,
        port=port,
        user=_agreed("user", settings["proxmox_user"], user, source),
        token_name=_agreed("token name", settings["proxmox_token_name"], name, source),
        token_value=secret,
        ca=ca,
        insecure=settings["proxmox_insecure"],
    )


def _agreed(what: str, setting: str | None, found: str | None, source: str) -> str:
    if setting and found and setting != found:
        raise ConfigError(
            f"the API {what} is {setting!r} by its option and {found!r} by {source}: "
            "let them agree"
        )
    if not (setting or found):
        raise ConfigError(
            f"no API {what}: put USER@REALM!NAME=SECRET into PROXMOX_VE_API_TOKEN, or pass "
            "--proxmox-user and --proxmox-token-name with --proxmox-token-file"
        )
    return str(setting or found)


def _token(
    settings: Settings, environment: Mapping[str, str]
) -> tuple[str | None, str | None, str, str]:
    """Return user, token name, secret, and where the secret came from."""
    file = settings["proxmox_token_file"]
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as problem:
            raise ConfigError(f"--proxmox-token-file = {str(file)!r}: {problem}") from problem
        return *_split_token(text, str(file)), str(file)
    found = [(n, _split_token(environment[n], n)) for n in _TOKENS if environment.get(n)]
    found += [
        (name, _paired_token(environment[ident], environment[name], ident, name))
        for ident, name in _PAIRS
        if environment.get(ident) and environment.get(name)
    ]
    if not found:
        raise ConfigError(
            "no API token: set PROXMOX_VE_API_TOKEN to USER@REALM!NAME=SECRET, or pass "
            "--proxmox-token-file; `vmnet doctor` prints the commands that make one"
        )
    name, token = found[0]
    for other, other_token in found[1:]:
        if any(a != b for a, b in zip(token, other_token, strict=True) if a and b):
            raise ConfigError(f"{name} and {other} are both set and disagree; unset one of them")
    return *token, name


def _split_token(text: str, source: str) -> _Token:
    if "!" not in text:
        return None, None, _secret(text, source)
    ident, _, secret = text.partition("=")
    user, _, name = ident.partition("!")
    if not (user and name and secret):
        raise ConfigError(f"the token in {source} is not of the form USER@REALM!NAME=SECRET")
    return user, name, _secret(secret, source)


def _paired_token(ident: str, secret: str, ident_source: str, source: str) -> _Token:
    user, separator, name = ident.rpartition("!")
    if not name or (separator and not user):
        raise ConfigError(f"{ident_source} is neither USER@REALM!NAME nor NAME")
    return user or None, name, _secret(secret, source)


def _secret(text: str, source: str) -> str:
    """Return a secret that fits into an HTTP header; what does not would end up in messages."""
    if not _SECRET.fullmatch(text):
        raise ConfigError(
            f"the token in {source} is empty, or has characters that no token has "
            "(a line break, a blank, or beyond ASCII)"
        )
    return text


def shells(settings: Settings, inventory: Inventory) -> tuple[dict[str, Shell], list[str]]:
    """Return a shell for each node that has one, and why the others have none.

    Raises:
        ConfigError: ``--proxmox-ssh`` is not understood or names an unknown node.
    """
    given: dict[str, str] = {}
    for part in settings["proxmox_ssh"] or ():
        node, separator, target = part.partition("=")
        if part != "none" and not (separator and node and target):
            raise ConfigError(
                f"{settings.describe('proxmox_ssh')}: expected NODE=TARGET,... or none"
            )
        given[node] = target
    names = {node.name for node in inventory.nodes}
    if unknown := sorted(set(given) - names - {"none"}):
        raise ConfigError(
            f"{settings.describe('proxmox_ssh')}: {unknown[0]!r} is not a tested node "
            f"({', '.join(sorted(names))})"
        )
    found: dict[str, Shell] = {}
    notes: list[str] = []
    for node in inventory.nodes:
        target = given.get(node.name) or (str(node.address) if node.address else None)
        if "none" in given:
            target = given.get(node.name)
        if target:
            found[node.name] = SshShell(node.name, target)
        else:
            why = "--proxmox-ssh none" if "none" in given else "its address is not known"
            notes.append(
                f"{node.name}: no shell ({why}): nothing is located, nobody is acted upon"
            )
    return found, notes


def check_shells(found: dict[str, Shell]) -> list[str]:
    """Drop the shells that do not answer, and return why, one line each."""
    notes = []
    for node, shell in sorted(found.items()):
        try:
            done = shell.run("id -u")
            problem = None
            if done.text.strip() != "0":
                said = done.stderr.decode(errors="replace").strip()[-200:]
                problem = f"commands do not run as root there ({said or done.text.strip()})"
        except CommandError as error:
            problem = str(error)
        if problem:
            del found[node]
            notes.append(
                f"{node}: no shell: {problem}; nothing is located and nobody is acted upon. "
                "Name it with --proxmox-ssh NODE=TARGET, or --proxmox-ssh none"
            )
    return notes


def terraform(settings: Settings) -> TerraformDoor | None:
    """Return Terraform in the folder that the settings name, initialised; None without one."""
    folder: Path | None = settings["vmnet_terraform_dir"]
    if folder is None:
        return None
    binary = next((name for name in ("terraform", "tofu") if shutil.which(name)), "terraform")
    return TerraformDoor(folder, binary=binary)


def journal(settings: Settings, node: str, found: Mapping[str, Shell]) -> Journal | None:
    """Return the journal of acts: the file that is named, else on the node, else None."""
    if path := settings["vmnet_journal"]:
        return FileJournal(path)
    shell = found.get(node)
    if shell is None:
        return None

    def run(argv: list[str], stdin: bytes | None) -> bytes:
        script = shlex.join(argv)
        if stdin is not None:
            packed = base64.b64encode(stdin).decode()
            script = f"printf %s {packed} | base64 -d | {script}"
        done = shell.run(script)
        if done.returncode:
            raise CommandError(
                argv[:1],
                where=f"{node}, journal",
                returncode=done.returncode,
                stderr=done.stderr.decode(errors="replace"),
            )
        return done.stdout

    return HostJournal(run, node=node)


def secrets(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the environment holds for us and for Terraform that nobody else may see.

    Args:
        environment: The process's environment.
    """
    found = {
        text
        for name, value in environment.items()
        if name.startswith(_SECRETIVE) and _SECRET_NAME.search(name)
        for text in (value, value.partition("=")[2])
    }
    return tuple(sorted(text for text in found if len(text) >= _SHORTEST))


def environment() -> Mapping[str, str]:
    """Return the process's environment; the one place where it is read."""
    return os.environ
