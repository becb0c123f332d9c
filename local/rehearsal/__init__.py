"""The rehearsal: the very same app on one machine, from nothing to a report. No stand-in of a service."""
