"""What is tried on a migrated installation, and must go well. Nothing of the migration itself."""
