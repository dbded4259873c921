"""``python -m pytest_vmnet.lab.pve``: serve the lab's Proxmox API until told to stop."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_vmnet.backends.clock import SYSTEM
from pytest_vmnet.errors import LabError, VmnetError
from pytest_vmnet.lab import spec
from pytest_vmnet.lab.image import MEMORY_MIB, boot_args, guest_image
from pytest_vmnet.lab.pve.certificate import make_certificates
from pytest_vmnet.lab.pve.machines import QemuMachines
from pytest_vmnet.lab.pve.place import Place
from pytest_vmnet.lab.pve.server import AUDITOR, AUDITOR_PRIVILEGES, LabPve
from pytest_vmnet.lab.qemu import GuestFiles


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    made = argparse.ArgumentParser(prog="python -m pytest_vmnet.lab.pve", description=__doc__)
    made.add_argument("--run-dir", type=Path, required=True, help="folder for all files")
    made.add_argument("--listen", default=spec.NODE_ADDRESS, metavar="ADDRESS")
    made.add_argument("--port", type=int, default=spec.API_PORT)
    made.add_argument("--token-file", type=Path, required=True,
                      help=f"file with the secret of {spec.TOKEN_ID}")  # fmt: skip
    made.add_argument("--auditor-token-file", type=Path,
                      help=f"the same of {AUDITOR}!vmnet, which may only look")  # fmt: skip
    made.add_argument("--nodes", type=int, choices=sorted(spec.SITES), default=1, metavar="N",
                      help="how many nodes the site has (default 1)")  # fmt: skip
    made.add_argument("--member", action="append", default=[], type=_member, metavar="NODE=PID",
                      help="another node, and a process that holds its namespaces")  # fmt: skip
    made.add_argument("--cache", type=Path, help="where the guests' image is kept")
    return made


async def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT, then end all guests.

    Raises:
        VmnetError: The image is not there, or a token file is empty.
        OSError: The address cannot be listened on.
    """
    run_dir: Path = options.run_dir.absolute()
    run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    image = guest_image(options.cache or spec.cache_dir(), _say)
    template = GuestFiles(run_dir, spec.TEMPLATE_VMID)
    template.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    template.disk(0).unlink(missing_ok=True)
    template.disk(0).symlink_to(image.base)
    boot = _without_memory(boot_args(image))
    machines = QemuMachines(run_dir, boot, dict(options.member))
    site = spec.SITES[options.nodes]
    pve = LabPve(machines, run_dir, host=options.listen, port=options.port, site=site)
    pve.add_token(spec.TOKEN_ID, _secret(options.token_file))
    if options.auditor_token_file:
        secret = _secret(options.auditor_token_file)
        pve.add_token(f"{AUDITOR}!vmnet", secret, AUDITOR_PRIVILEGES)
    pve.add_template(_virtual_size(image.base), memory_mib=MEMORY_MIB)
    hosts = [spec.NODE_ADDRESS, spec.NODE, "localhost", "127.0.0.1", options.listen]
    certificates = make_certificates(run_dir, list(dict.fromkeys(hosts)), SYSTEM.now())
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    await pve.start(str(certificates.certificate), str(certificates.key))
    try:
        (run_dir / "ready").write_text(f"https://{options.listen}:{pve.port}\n", "ascii")
        sys.stdout.write(f"ready https://{options.listen}:{pve.port}\n")
        sys.stdout.flush()
        await ended.wait()
    finally:
        (run_dir / "ready").unlink(missing_ok=True)
        await pve.stop()
        await machines.close()


def _member(text: str) -> tuple[str, Place]:
    node, _, pid = text.partition("=")
    return node, Place(int(pid))


def _without_memory(boot: Sequence[str]) -> list[str]:
    """Leave out ``-m``: the guest's own configuration names its memory."""
    at = list(boot).index("-m") if "-m" in boot else len(boot)
    return [*boot[:at], *boot[at + 2 :]]


def _say(line: str) -> None:
    logging.getLogger(__name__).info(line)


def _secret(path: Path) -> str:
    secret = path.read_text("ascii").strip().rpartition("=")[2]
    if not secret:
        raise LabError(f"{path}: no token in it")
    return secret


def _virtual_size(disk: Path) -> int:
    argv = ["qemu-img", "info", "--output=json", str(disk)]
    done = subprocess.run(argv, capture_output=True, check=True, timeout=30)
    return int(json.loads(done.stdout)["virtual-size"])


def main(argv: Sequence[str] | None = None) -> int:
    """Serve; return the exit code.

    Args:
        argv: The command line, without the program's name.
    """
    options = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    try:
        asyncio.run(serve(options))
    except (VmnetError, OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"pytest_vmnet.lab.pve: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
