"""``python -m pytest_vmnet.lab.supervisor.call POST PATH``: one call of the lab's Proxmox API.

Run on the workstation, with its environment; prints the answer's data as JSON.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import urllib.error
import urllib.request


def main(method: str, path: str) -> int:
    """Make the call; return 0 if the API did as it was told."""
    endpoint = os.environ["PROXMOX_VE_ENDPOINT"]
    request = urllib.request.Request(  # noqa: S310 - the lab's own endpoint
        f"{endpoint}api2/json{path}",
        method=method,
        data=b"" if method == "POST" else None,
        headers={"Authorization": f"PVEAPIToken={os.environ['PROXMOX_VE_API_TOKEN']}"},
    )
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    try:
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:  # noqa: S310
            sys.stdout.write(json.dumps(json.load(answer)["data"]))
    except urllib.error.HTTPError as error:
        sys.stderr.write(f"{method} {path}: {error.code} {error.reason}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"{method} {path}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
