terraform {
  required_version = ">= 1.5"

  required_providers {
    proxmox = {
      source  = "telmate/proxmox"
      version = "3.0.2-rc09"
    }
  }
}

# Endpoint and token come from PM_API_URL (with /api2/json), PM_API_TOKEN_ID and
# PM_API_TOKEN_SECRET. A private CA is trusted through SSL_CERT_FILE.
provider "proxmox" {
  pm_parallel = 5
}
