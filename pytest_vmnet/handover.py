"""How xdist's controller hands the site and the outcome to its workers, on the same machine.

Both are pickled by the controller of the very run that reads them: the site travels over xdist's
own channel, the outcome in a file inside of a folder that only this user can read.
"""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

from pytest_vmnet.core.outcome import RunOutcome
from pytest_vmnet.core.site.topology import Inventory


def new_file() -> Path:
    """Return the path of a file that does not exist yet, in a new private folder."""
    return Path(tempfile.mkdtemp(prefix="vmnet-")) / "outcome"


def write(path: Path, outcome: RunOutcome) -> None:
    """Hand the outcome over."""
    path.write_bytes(pickle.dumps(outcome))


def read(path: Path) -> RunOutcome:
    """Take the outcome over."""
    outcome: RunOutcome = pickle.loads(path.read_bytes())  # noqa: S301 - see the module's words
    return outcome


def pack_site(inventory: Inventory) -> str:
    """Return the site as text for xdist's channel."""
    return pickle.dumps(inventory).hex()


def unpack_site(text: str) -> Inventory:
    """Return the site that `pack_site` packed."""
    inventory: Inventory = pickle.loads(bytes.fromhex(text))  # noqa: S301 - likewise
    return inventory
