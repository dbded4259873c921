output "guests" {
  description = "What became of the guests: name => VMID, node, address and MAC."
  value = {
    for name, vm in proxmox_vm_qemu.vm : name => {
      vmid    = vm.vmid
      node    = vm.current_node
      address = vm.default_ipv4_address
      mac     = lower(vm.network[0].macaddr)
    }
  }
}
