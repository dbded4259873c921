"""A packet-level acceptance gate for Proxmox VE guests, as a pytest plugin."""
