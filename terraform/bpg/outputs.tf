output "guests" {
  description = "What became of the guests: name => VMID, node, address and MAC."
  value = {
    for name, vm in proxmox_virtual_environment_vm.vm : name => {
      vmid    = vm.vm_id
      node    = vm.node_name
      address = var.guests[name].address
      mac     = lower(vm.network_device[0].mac_address)
    }
  }
}
