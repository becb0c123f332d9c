"""What is there, and what would not move as it is. Changes nothing."""
