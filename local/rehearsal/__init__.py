"""The rehearsal: the very same app on one machine, with every Azure service played by a process on 127.0.0.1."""
