"""What Terraform's plan would do, and whether it may. Pure."""
