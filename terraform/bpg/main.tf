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
    firewall    = each.value.firewall
  }

  dynamic "network_device" {
    for_each = each.value.inner_address[*]

    content {
      bridge = var.inner_bridge
      model  = "virtio"
    }
  }

  initialization {
    datastore_id = var.datastore
    interface    = "ide2"

    ip_config {
      ipv4 {
        address = "${each.value.address}/${var.prefix_length}"
        gateway = var.gateway
      }

      dynamic "ipv6" {
        for_each = each.value.address6[*]

        content {
          address = "${ipv6.value}/${var.prefix_length6}"
          gateway = var.gateway6
        }
      }
    }

    dynamic "ip_config" {
      for_each = each.value.inner_address[*]

      content {
        ipv4 {
          address = "${ip_config.value}/${var.prefix_length}"
        }
      }
    }

    user_account {
      username = var.user
      keys     = var.ssh_keys
    }
  }
}
