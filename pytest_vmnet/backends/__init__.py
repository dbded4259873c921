"""One door per dependency: the only places that touch the outside world."""
