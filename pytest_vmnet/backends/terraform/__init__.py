"""The door to Terraform: the only place that imports python-terraform."""

from pytest_vmnet.backends.terraform.door import TerraformDoor
from pytest_vmnet.backends.terraform.limit import Grace, TimeLimits

__all__ = ["Grace", "TerraformDoor", "TimeLimits"]
