"""Whether source and target hold the same, what differs, and its repair. Not the copy itself."""
