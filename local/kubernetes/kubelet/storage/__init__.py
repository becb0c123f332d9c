"""Claims, volumes and snapshots as directories. Not which claim gets which volume."""
