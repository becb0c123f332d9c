"""What watches a migrated installation: rules and the dashboard. Not what the guard looks at."""
