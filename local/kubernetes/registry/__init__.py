"""Everything that a write goes through on its way into the store. No HTTP and no controller."""
