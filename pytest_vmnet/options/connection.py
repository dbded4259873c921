"""How to reach a site: the part of the option table that `vmnet doctor` shares."""

from __future__ import annotations

from pathlib import Path

from pytest_vmnet.options.option import Option, truth

CONNECTION = (
    Option(
        flag="--proxmox-node",
        help="switch the gate on for this node; repeatable, a comma list, or 'all'",
        repeatable=True,
        metavar="NODE",
    ),
    Option(
        flag="--proxmox-host",
        help="API endpoint: host, host:port or URL",
        env=(
            "VMNET_PROXMOX_HOST",
            "PROXMOX_VE_ENDPOINT",
            "PM_API_URL",
            "PROXMOX_URL",
            "PROXMOX_HOST",
        ),
        metavar="HOST",
    ),
    Option(
        flag="--proxmox-user",
        help="API user, for example vmnet@pve",
        env=("VMNET_PROXMOX_USER", "PROXMOX_VE_USERNAME", "PM_USER", "PROXMOX_USER"),
        metavar="USER@REALM",
    ),
    Option(
        flag="--proxmox-token-name",
        help="name of the API token, the part behind the '!'",
        env=("VMNET_PROXMOX_TOKEN_NAME",),
        metavar="NAME",
    ),
    Option(
        flag="--proxmox-token-file",
        help="file with the token: its secret, or USER@REALM!NAME=SECRET",
        env=("VMNET_PROXMOX_TOKEN_FILE",),
        parse=Path,
        metavar="PATH",
        secretive=True,
    ),
    Option(
        flag="--proxmox-ca",
        help="CA certificates (PEM) that the API's certificate is checked against",
        env=("VMNET_PROXMOX_CA", "SSL_CERT_FILE"),
        parse=Path,
        metavar="PATH",
    ),
    Option(
        flag="--proxmox-insecure",
        help="do not check the API's certificate",
        default=False,
        parse=truth,
        switch=True,
        env=("VMNET_PROXMOX_INSECURE", "PROXMOX_VE_INSECURE", "PM_TLS_INSECURE"),
    ),
    Option(
        flag="--proxmox-ssh",
        help="how to reach a node's shell: NODE=TARGET,... or 'none'; "
        "default root@ the node's address in the cluster",
        repeatable=True,
        env=("VMNET_PROXMOX_SSH",),
        metavar="NODE=TARGET",
    ),
)
