"""Read how a node's devices hang together, once per node, by its shell."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from pytest_vmnet.backends.hosts import Shell
from pytest_vmnet.core.parse.links import parse_links
from pytest_vmnet.core.site.link import Link
from pytest_vmnet.core.site.topology import Inventory
from pytest_vmnet.errors import BackendError, ProbeError
from pytest_vmnet.probes import script

_TOKEN = "wiring"  # noqa: S105 - frames the output; nothing in it comes from a guest
_READ = """\
d=$(mktemp -d) && cd "$d" || exit 70
trap 'rm -rf "$d"' EXIT
timeout 20 ip -d -j link >link 2>link.err || {{ cat link.err >&2; exit 71; }}
timeout 20 bridge -d -j link >port 2>/dev/null || rm -f port
timeout 20 bridge -j vlan >vlan 2>/dev/null || rm -f vlan
for f in link port vlan; do emit "$f" "$f"; done
"""


def read_script() -> str:
    """Return the script that lists a node's devices; it only reads."""
    return script.preamble(_TOKEN) + _READ.format()


def links_of(shell: Shell, node: str) -> tuple[Link, ...]:
    """Return a node's devices.

    Raises:
        CommandError: The shell could not be reached.
        ParseError: The listing could not be made or is damaged.
    """
    done = shell.run(read_script())
    found = script.sections(done.stdout + done.stderr, _TOKEN, f"{node}, ip link")
    return parse_links(
        script.text(found, "link"),
        f"{node}, ip link",
        bridge_link=script.text(found, "port"),
        bridge_vlan=script.text(found, "vlan"),
    )


def with_links(inventory: Inventory, shells: Mapping[str, Shell]) -> tuple[Inventory, list[str]]:
    """Return the site with its nodes' devices, and a note for each node that could not tell.

    A node without a shell, or whose devices could not be read, has none: its paths are worked
    out from the API alone.
    """
    links: dict[str, tuple[Link, ...]] = {}
    notes = []
    wanted = sorted(name for name in shells if any(n.name == name for n in inventory.nodes))
    with ThreadPoolExecutor(max_workers=max(len(wanted), 1)) as pool:
        asked = {name: pool.submit(links_of, shells[name], name) for name in wanted}
    for name, reading in asked.items():
        try:
            links[name] = reading.result()
        except (BackendError, ProbeError) as problem:
            notes.append(
                f"{name}: its devices could not be read, paths are as configured: {problem}"
            )
    return replace(inventory, links=links), notes
