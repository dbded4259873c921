"""The embedded lab: a small Proxmox site of real parts in private namespaces."""
