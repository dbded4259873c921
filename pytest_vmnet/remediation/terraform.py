"""What a rebuild needs of Terraform."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from pytest_vmnet.remediation.act import Say


class Terraform(Protocol):
    """What a rebuild needs of Terraform; `backends.terraform.TerraformDoor` has it."""

    folder: Path
    commands: list[str]

    def plan_replace(self, address: str, out: Path, on_line: Say = ...) -> bool:
        """Plan the replacement of *address* into *out*."""

    def plan_tainted(self, out: Path, on_line: Say = ...) -> bool:
        """Plan what the state asks for into *out*."""

    def show_plan(self, file: Path) -> dict[str, Any]:
        """Return a plan as JSON."""

    def apply_file(self, file: Path, on_line: Say = ...) -> None:
        """Apply that plan."""

    def has_changes(self) -> bool:
        """Return whether a fresh plan has changes."""

    def taint(self, address: str) -> None:
        """Mark *address* as tainted."""

    def untaint(self, address: str) -> None:
        """Take the mark back."""
