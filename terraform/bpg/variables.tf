variable "node" {
  description = "Node of the template, and of the guests that name no other. Guests on another node need shared storage."
  type        = string
  default     = "pve1"
}

variable "template_vmid" {
  description = "VMID of the template that the guests are cloned from."
  type        = number
  default     = 9000
}

variable "datastore" {
  description = "Storage of the guests' cloud-init drives."
  type        = string
  default     = "local-lvm"
}

variable "bridge" {
  description = "Bridge that the guests' first NIC is on."
  type        = string
  default     = "vmbr0"
}

variable "inner_bridge" {
  description = "Bridge that the guests' second NIC is on; it needs no uplink."
  type        = string
  default     = "vmbr1"
}

variable "guests" {
  description = "The guests: name => VMID and IPv4 address; if need be node, firewall of the first NIC, IPv6 address, and IPv4 address of a second NIC on var.inner_bridge."
  type = map(object({
    vmid          = number
    address       = string
    node          = optional(string)
    firewall      = optional(bool)
    address6      = optional(string)
    inner_address = optional(string)
  }))
  default = {
    "vm-1" = { vmid = 111, address = "192.0.2.11" }
    "vm-2" = { vmid = 112, address = "192.0.2.12" }
    "vm-3" = { vmid = 113, address = "192.0.2.13" }
    "vm-4" = { vmid = 114, address = "192.0.2.14" }
    "vm-5" = { vmid = 115, address = "192.0.2.15" }
  }
}

variable "prefix_length" {
  description = "Prefix length of the guests' network."
  type        = number
  default     = 24
}

variable "gateway" {
  description = "The guests' default gateway."
  type        = string
  default     = "192.0.2.1"
}

variable "prefix_length6" {
  description = "Prefix length of the guests' IPv6 network."
  type        = number
  default     = 64
}

variable "gateway6" {
  description = "The IPv6 default gateway of guests that have an IPv6 address."
  type        = string
  default     = "2001:db8:0:2::1"
}

variable "memory" {
  description = "Memory of each guest in MiB."
  type        = number
  default     = 192
}

variable "user" {
  description = "User that cloud-init creates."
  type        = string
  default     = "ubuntu"
}

variable "ssh_keys" {
  description = "Public keys of that user."
  type        = list(string)
  default     = []
}

variable "pin_macs" {
  description = "MAC addresses to keep over a rebuild: name => MAC. A guest without one gets a new MAC each time."
  type        = map(string)
  default     = {}
}
