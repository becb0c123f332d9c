"""How a container becomes a process: image, command, paths, launcher. Not when it starts and ends."""
