"""SSH of the site: one key for everything, a real sshd on the node, and how to get there."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from pytest_vmnet.backends.clock import Clock
from pytest_vmnet.errors import LabError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.site.hosts import Host

CLIENT_KEY = Path("/etc/ssh/vmnet_lab_key")
_HOST_KEY = Path("/etc/ssh/ssh_host_ed25519_key")
_LOG = spec.RUN_DIR / "log/sshd.log"

_SERVER = f"""\
ListenAddress {spec.NODE_ADDRESS}:22
HostKey {_HOST_KEY}
AuthorizedKeysFile {CLIENT_KEY}.pub
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
X11Forwarding no
MaxStartups 200
MaxSessions 200
PidFile none
AcceptEnv LANG LC_*
Subsystem sftp internal-sftp
"""

_GUESTS = " ".join(word for guest in spec.GUESTS for word in (guest.name, guest.address))

_CLIENT = f"""\
Host {spec.NODE} node {spec.NODE_ADDRESS}
    HostName {spec.NODE_ADDRESS}
    HostKeyAlias {spec.NODE}
    GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    StrictHostKeyChecking yes

# A guest's host key is born with it: after a rebuild it is another one.
Host {_GUESTS}
    StrictHostKeyChecking no
    LogLevel ERROR

Host {spec.NODE} node {spec.NODE_ADDRESS} {_GUESTS}
    User root
    IdentityFile {CLIENT_KEY}
    IdentitiesOnly yes
    UserKnownHostsFile /dev/null
    UpdateHostKeys no
"""


def write_files() -> None:
    """Make the keys and write the configuration into the lab's private ``/etc/ssh``.

    Raises:
        LabError: ssh-keygen refused.
    """
    for key in (CLIENT_KEY, _HOST_KEY):
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmnet-lab", "-f", str(key)]
        made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
        if made.returncode != 0:
            raise LabError(f"ssh-keygen made no key: {made.stderr.strip()}")
    public = Path(f"{_HOST_KEY}.pub").read_text(encoding="ascii")
    known = Path("/etc/ssh/ssh_known_hosts")
    known.write_text(f"{spec.NODE},{spec.NODE_ADDRESS} {public}", encoding="ascii")
    Path("/etc/ssh/sshd_config").write_text(_SERVER, encoding="ascii")
    Path("/etc/ssh/ssh_config").write_text(_CLIENT, encoding="ascii")


def public_key() -> str:
    """Return the public key that the node and the guests accept for root."""
    return Path(f"{CLIENT_KEY}.pub").read_text(encoding="ascii").strip()


def start(node: Host) -> subprocess.Popen[bytes]:
    """Start sshd on the node; it does not fork."""
    sshd = shutil.which("sshd", path=f"/usr/sbin:{os.defpath}") or "/usr/sbin/sshd"
    return node.spawn([sshd, "-D", "-e", "-f", "/etc/ssh/sshd_config"], log=_LOG)


def wait_until_it_answers(hosts: Mapping[str, Host], clock: Clock) -> None:
    """Return when `ssh pve1` works from the workstation.

    Raises:
        LabError: It does not within 20 seconds.
    """
    argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", spec.NODE, "true"]

    def answers() -> bool:
        return hosts["workstation"].run(argv, check=False, timeout_s=15).returncode == 0

    if not clock.wait_for(answers, timeout_s=20, interval_s=0.05):
        last = hosts["workstation"].run(argv, check=False, timeout_s=15).stderr
        log = _LOG.read_text(encoding="utf-8", errors="replace")[-1000:]
        raise LabError(f"sshd on {spec.NODE} does not answer: {last.strip()}; its log: {log}")


def is_listening(address: str, port: int) -> bool:
    """Tell whether something accepts connections there; for callers in the right namespace."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
