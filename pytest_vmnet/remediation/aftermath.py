"""What to tell a person when Terraform failed half-way."""

from __future__ import annotations

from pytest_vmnet.core.parse.tfstate import TELMATE_TYPES
from pytest_vmnet.core.site.topology import Guest
from pytest_vmnet.errors import TerraformError

_PREVENTED = "Instance cannot be destroyed"
_STALE = "Saved plan is stale"


def after_failed_plan(error: TerraformError, address: str) -> str:
    """Return why there is no plan; nothing was changed."""
    if _PREVENTED in error.diagnostics:
        return f"{address} has prevent_destroy: Terraform refuses to plan its replacement"
    return f"there is no plan, and nothing was changed: {error}"


def after_failed_apply(error: TerraformError, guest: Guest, address: str) -> str:
    """Return what to look at and what to type after an apply that failed.

    Which of the three states the guest is in - untouched, gone, made again but not in the
    state - only a look at both sides tells.
    """
    if _STALE in error.diagnostics:
        return (
            "someone changed Terraform's state after the plan was made; nothing was changed: "
            "run the gate again"
        )
    kind = guest.resource.type if guest.resource else ""
    word = str(guest.vmid)
    ident = f"{guest.node}/qemu/{word}" if kind in TELMATE_TYPES else f"{guest.node}/{word}"
    return (
        f"{error}. The guest may be gone or half made. Look at both sides: `qm status {word}` on "
        f"{guest.node}, and `terraform state list`. If the VM is not there, `terraform apply` "
        f"makes it again. If it is there and not in the state: "
        f"`terraform import '{address}' {ident}`. If it is there, in the state and marked as "
        f"tainted though it works: `terraform untaint '{address}'`"
    )
