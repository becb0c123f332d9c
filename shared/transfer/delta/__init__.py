"""What changed since it was copied: found, and exchanged at the target. Not the bulk: `load`."""
