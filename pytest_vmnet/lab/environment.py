"""What a command on a host of the lab finds in its environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_FOREIGN = ("PM_", "PROXMOX_", "TF_CLI_ARGS", "TF_VAR_")
"""Families of the caller's variables that would lead the gate or Terraform to another site."""
_PROXIES = ("all_proxy", "ftp_proxy", "http_proxy", "https_proxy", "no_proxy")
"""The lab has no way out, so there is no proxy in it."""


def host_environment(answer: Mapping[str, Any]) -> dict[str, str]:
    """Return the environment for a command on the host that the lab described in *answer*."""
    if answer["name"] == "workstation":
        return workstation_environment(answer.get("environment", {}), os.environ)
    clean = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", "USER": "root", "LOGNAME": "root"}
    if "TERM" in os.environ:
        clean["TERM"] = os.environ["TERM"]
    return clean


def workstation_environment(lab: Mapping[str, str], caller: Mapping[str, str]) -> dict[str, str]:
    """Return the caller's environment with the lab's variables in it.

    Args:
        lab: The lab's variables; ``VMNET_PATH`` holds folders that go first in ``PATH``.
        caller: The caller's environment.
    """
    kept = {
        key: value
        for key, value in caller.items()
        if not key.startswith(_FOREIGN) and key.lower() not in _PROXIES
    }
    folders = [str(Path(sys.executable).parent), *lab.get("VMNET_PATH", "").split(":")]
    folders += [*kept.get("PATH", PATH).split(":"), *PATH.split(":")]
    ours = {key: value for key, value in lab.items() if key != "VMNET_PATH"}
    return kept | ours | {"PATH": ":".join(dict.fromkeys(filter(None, folders)))}
