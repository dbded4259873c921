"""The site: nodes, bridges, guests, devices and how they hang together. Pure."""
