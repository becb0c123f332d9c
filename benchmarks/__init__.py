"""What a transfer costs, measured against what people do today and against what PostgreSQL can do at most."""
