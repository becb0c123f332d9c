"""What was copied, noted in schema `scaleout` beside the rows. No row of a user."""
