"""The programs that make the site a Proxmox site: the API on the node, Terraform over it."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec, toolchain
from pytest_vmnet.lab.settings import LabSettings
from pytest_vmnet.lab.site import ssh
from pytest_vmnet.lab.site.hosts import ENVIRONMENT, OWN_PROGRAM, Host

TERRAFORM_DIR = spec.RUN_DIR / "terraform"
CLI_CONFIG = spec.RUN_DIR / "terraformrc"
CA = spec.RUN_DIR / "ca.pem"
TOKEN = spec.RUN_DIR / "token"
_READY = spec.RUN_DIR / "ready"
_LOG = spec.RUN_DIR / "log/api.log"
_API_S = 30.0
_APPLY_S = 600.0


def write_token() -> None:
    """Make up the API token; only root can read it, and only through the lab."""
    TOKEN.touch(mode=0o600)
    TOKEN.write_text(f"{spec.TOKEN_ID}={secrets.token_hex(16)}\n", encoding="ascii")


def variables(settings: LabSettings) -> dict[str, str]:
    """Return what the workstation's environment holds; the token is in it, so never log it."""
    token = TOKEN.read_text(encoding="ascii").strip()
    endpoint = f"https://{spec.NODE_ADDRESS}:{spec.API_PORT}/"
    families = len(settings.site.external)  # each has flows of its own, between the same CPUs
    found = {
        "PROXMOX_VE_ENDPOINT": endpoint,
        "PROXMOX_VE_API_TOKEN": token,
        "SSL_CERT_FILE": str(CA),
        "REQUESTS_CA_BUNDLE": str(CA),
        "CURL_CA_BUNDLE": str(CA),
        "TF_CLI_CONFIG_FILE": str(CLI_CONFIG),
        "TF_IN_AUTOMATION": "1",
        "CHECKPOINT_DISABLE": "1",
        "VMNET_TERRAFORM_DIR": str(TERRAFORM_DIR),
        "VMNET_INTERVAL": f"{spec.PROBE_INTERVAL_S * families:g}",
        "VMNET_EXTERNAL": ",".join(settings.site.external),
        "VMNET_PATH": str(Path(settings.terraform).parent),
    }
    if settings.provider == "telmate":
        found["PM_API_URL"] = f"{endpoint}api2/json"
        found["PM_API_TOKEN_ID"], _, found["PM_API_TOKEN_SECRET"] = token.partition("=")
    return found


def start_api(hosts: Mapping[str, Host], settings: LabSettings) -> subprocess.Popen[bytes]:
    """Start the Proxmox API on the first node; it runs the guests of every node."""
    first, *others = settings.site.nodes
    argv = [settings.python, "-m", "pytest_vmnet.lab.pve", "--run-dir", str(spec.RUN_DIR)]
    argv += ["--listen", spec.NODE_ADDRESS, "--port", str(spec.API_PORT)]
    argv += ["--token-file", str(TOKEN), "--cache", settings.cache]
    argv += ["--nodes", str(settings.nodes)]
    for node in others:
        argv += ["--member", f"{node.name}={hosts[node.host].pid}"]
    return hosts[first.host].spawn(argv, log=_LOG, env=OWN_PROGRAM)


def await_api(api: subprocess.Popen[bytes]) -> None:
    """Return when the API listens.

    Raises:
        LabError: It ended, or does not listen in time.
    """
    if not SYSTEM.wait_for(
        lambda: _READY.exists() or api.poll() is not None, timeout_s=_API_S, interval_s=0.02
    ):
        raise LabError(f"the API does not listen after {_API_S:g} s; its log: {log_tail()}")
    if api.poll() is not None:
        raise LabError(f"the API ended with {api.returncode}; its log: {log_tail()}")


class Terraform:
    """The lab's own Terraform root, run on the workstation as its user would run it.

    Args:
        workstation: Where it runs.
        settings: The lab's settings.
    """

    def __init__(self, workstation: Host, settings: LabSettings) -> None:
        self._workstation = workstation
        self._settings = settings

    def init(self) -> None:
        """Copy the root into the lab and initialise it.

        Raises:
            CommandError: Terraform found no provider.
        """
        ignored = shutil.ignore_patterns(".terraform", "*.tfstate*", "*.tfvars")
        shutil.copytree(self._settings.root, TERRAFORM_DIR, ignore=ignored)
        values = {"user": "root", "ssh_keys": [ssh.public_key()], **_variant(self._settings.site)}
        (TERRAFORM_DIR / "lab.auto.tfvars.json").write_text(json.dumps(values), encoding="utf-8")
        toolchain.write_cli_config(CLI_CONFIG, [Path(each) for each in self._settings.mirrors])
        self._run("init", "-backend=true", timeout_s=120)

    def apply(self) -> None:
        """Create what is missing.

        Raises:
            CommandError: Terraform or the API failed.
        """
        self._run("apply", "-auto-approve", "-compact-warnings", timeout_s=_APPLY_S)

    def _run(self, command: str, *options: str, timeout_s: float) -> None:
        argv = [self._settings.terraform, f"-chdir={TERRAFORM_DIR}", command]
        self._workstation.run(
            [*argv, "-input=false", "-no-color", *options],
            timeout_s=timeout_s,
            env=self._environment(),
        )

    def _environment(self) -> Mapping[str, str]:
        return ENVIRONMENT | variables(self._settings)


def _variant(site: spec.SiteSpec) -> dict[str, object]:
    """Return the variables by which *site* differs from what the root builds by default."""
    if site is spec.ONE_NODE:
        return {}
    guests = {
        guest.name: {
            "vmid": guest.vmid,
            "address": guest.address,
            "address6": guest.address6,
            "inner_address": guest.inner_address,
            "node": guest.node,
            "firewall": guest.firewall,
        }
        for guest in site.guests
    }
    return {"guests": guests, "datastore": site.storage}


def log_tail(size: int = 1500) -> str:
    """Return the end of the API's log."""
    try:
        return _LOG.read_text(encoding="utf-8", errors="replace")[-size:].strip() or "empty"
    except OSError as error:
        return f"({error})"
