"""SSH of the site: one key for root everywhere, a real sshd on each node, the way to get there."""

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
_LOG = spec.RUN_DIR / "log/sshd.log"

_SERVER = f"""\
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

_NODE_CLIENT = """\
Host {name} {host} {address}
    HostName {address}
    HostKeyAlias {name}
    GlobalKnownHostsFile /etc/ssh/ssh_known_hosts
    StrictHostKeyChecking yes

"""

_CLIENT = f"""\
# A guest's host key is born with it: after a rebuild it is another one.
Host {_GUESTS}
    StrictHostKeyChecking no
    LogLevel ERROR

Host {{nodes}} {_GUESTS}
    User root
    IdentityFile {CLIENT_KEY}
    IdentitiesOnly yes
    UserKnownHostsFile /dev/null
    UpdateHostKeys no
"""


def write_files(site: spec.SiteSpec) -> None:
    """Make the keys and write the configuration into the lab's private ``/etc/ssh``.

    Raises:
        LabError: ssh-keygen refused.
    """
    _make_key(CLIENT_KEY)
    known = ""
    for node in site.nodes:
        key = _host_key(node)
        _make_key(key)
        known += f"{node.name},{node.address} {Path(f'{key}.pub').read_text(encoding='ascii')}"
    Path("/etc/ssh/ssh_known_hosts").write_text(known, encoding="ascii")
    Path("/etc/ssh/sshd_config").write_text(_SERVER, encoding="ascii")
    names = [word for node in site.nodes for word in (node.name, node.host, node.address)]
    client = "".join(_NODE_CLIENT.format_map(vars(node)) for node in site.nodes)
    client += _CLIENT.format(nodes=" ".join(names))
    Path("/etc/ssh/ssh_config").write_text(client, encoding="ascii")


def _host_key(node: spec.NodeSpec) -> Path:
    return Path(f"/etc/ssh/ssh_host_ed25519_key.{node.name}")


def _make_key(path: Path) -> None:
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vmnet-lab", "-f", str(path)]
    made = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=30)
    if made.returncode != 0:
        raise LabError(f"ssh-keygen made no key: {made.stderr.strip()}")


def public_key() -> str:
    """Return the public key that the node and the guests accept for root."""
    return Path(f"{CLIENT_KEY}.pub").read_text(encoding="ascii").strip()


def start(node: spec.NodeSpec, host: Host) -> subprocess.Popen[bytes]:
    """Start sshd on *node*, which is *host*; it does not fork."""
    sshd = shutil.which("sshd", path=f"/usr/sbin:{os.defpath}") or "/usr/sbin/sshd"
    own = ["-o", f"ListenAddress={node.address}:22", "-o", f"HostKey={_host_key(node)}"]
    return host.spawn([sshd, "-D", "-e", "-f", "/etc/ssh/sshd_config", *own], log=_LOG)


def wait_until_it_answers(node: spec.NodeSpec, hosts: Mapping[str, Host], clock: Clock) -> None:
    """Return when `ssh pve1` (or whichever *node* is) works from the workstation.

    Raises:
        LabError: It does not within 20 seconds.
    """
    argv = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5", node.name, "true"]

    def answers() -> bool:
        return hosts["workstation"].run(argv, check=False, timeout_s=15).returncode == 0

    if not clock.wait_for(answers, timeout_s=20, interval_s=0.05):
        last = hosts["workstation"].run(argv, check=False, timeout_s=15).stderr
        log = _LOG.read_text(encoding="utf-8", errors="replace")[-1000:]
        raise LabError(f"sshd on {node.name} does not answer: {last.strip()}; its log: {log}")


def is_listening(address: str, port: int) -> bool:
    """Tell whether something accepts connections there; for callers in the right namespace."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
