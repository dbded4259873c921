"""``python3 -m pytest_vmnet.lab.image``: build the guests' image into the cache."""

from __future__ import annotations

import sys

from pytest_vmnet.errors import VmnetError
from pytest_vmnet.lab.image import guest_image
from pytest_vmnet.lab.spec import cache_dir


def main() -> int:
    """Build the image if the cache does not hold it; print where it is."""
    try:
        image = guest_image(cache_dir(), lambda line: print(line, flush=True))  # noqa: T201
    except VmnetError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{image.base.parent}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
