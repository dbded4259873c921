"""The acceptance suite that ships with the plugin: short tests on facts, without I/O."""
