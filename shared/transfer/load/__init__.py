"""The bulk pass, batch by batch, and its undo. Not what changes meanwhile: `delta`."""
