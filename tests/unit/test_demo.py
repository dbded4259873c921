"""`vmnet demo` plays the whole story and says so by its exit code."""

from __future__ import annotations

import json
import subprocess
import sys


def test_a_story_without_its_fault_is_told_as_gone_wrong(tmp_path):
    """The demo fails if what it plays does not happen: here nobody breaks anything."""
    script = (
        "from pytest_vmnet.lab import demo, client\n"
        "import json, pathlib\n"
        f"told = json.loads(pathlib.Path({str(tmp_path / 'healthy.json')!r}).read_text())\n"
        "demo._check(told, {'vm-1': 1, 'vm-2': 2}, {'vm-1': 1, 'vm-2': 2})\n"
    )
    guest = {"name": "vm-1", "vmid": 111, "verdict": "healthy", "findings": [], "attempts": []}
    (tmp_path / "healthy.json").write_text(json.dumps({"guests": [guest]}))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "expected that the cause was named" in done.stderr
