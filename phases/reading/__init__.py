"""What several phases ask before they change anything. No phase, and nothing that changes the world."""
