"""The lab's site below its guests: mounts, hosts, wiring, SSH."""
