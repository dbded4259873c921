resource "proxmox_virtual_environment_vm" "vm" {
  for_each = var.guests

  name      = each.key
  vm_id     = each.value.vmid
  node_name = coalesce(each.value.node, var.node)
  tags      = ["vmnet-rebuild"]

  # A rebuild must not wait for a guest that no longer listens.
  stop_on_destroy = true

  clone {
    vm_id     = var.template_vmid
    node_name = var.node
    full      = false
  }

  agent {
    enabled = true
    timeout = "3m"
  }

  memory {
    dedicated = var.memory
  }

  network_device {
    bridge      = var.bridge
    model       = "virtio"
    mac_address = lookup(var.pin_macs, each.key, null)
  }

  initialization {
    datastore_id = var.datastore
    interface    = "ide2"

    ip_config {
      ipv4 {
        address = "${each.value.address}/${var.prefix_length}"
        gateway = var.gateway
      }
    }

    user_account {
      username = var.user
      keys     = var.ssh_keys
    }
  }
}
