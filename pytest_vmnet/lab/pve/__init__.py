"""The lab's Proxmox API: fakepve, completed so that its VMs are real QEMU guests."""
