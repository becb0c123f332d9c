"""What calls the app's functions but HTTP: timers and durable work. Not who decides the work."""
