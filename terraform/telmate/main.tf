resource "proxmox_vm_qemu" "vm" {
  for_each = var.guests

  name        = each.key
  vmid        = each.value.vmid
  target_node = var.node
  tags        = "vmnet-rebuild"

  clone_id        = var.template_vmid
  full_clone      = false
  clone_wait      = 0
  additional_wait = 0
  power_state     = "running"

  agent         = 1
  agent_timeout = 180
  memory        = var.memory
  scsihw        = "virtio-scsi-pci"
  boot          = "order=virtio0"
  os_type       = "cloud-init"
  ciuser        = var.user
  sshkeys       = join("\n", var.ssh_keys)
  ipconfig0     = "ip=${each.value.address}/${var.prefix_length},gw=${var.gateway}"
  skip_ipv6     = true

  cpu {
    cores = 1
    type  = "host"
  }

  network {
    id      = 0
    model   = "virtio"
    bridge  = var.bridge
    macaddr = lookup(var.pin_macs, each.key, null)
  }

  serial {
    id   = 0
    type = "socket"
  }

  vga {
    type = "serial0"
  }

  # Disks that are not listed here would be removed from the clone.
  disks {
    ide {
      ide2 {
        cloudinit {
          storage = var.datastore
        }
      }
    }
    virtio {
      virtio0 {
        disk {
          storage = var.datastore
          size    = var.disk_size
          format  = "raw"
        }
      }
    }
  }

  # What the provider reads where nothing is set; without it every plan shows a change.
  startup_shutdown {
    order            = -1
    shutdown_timeout = -1
    startup_delay    = -1
  }
}
