"""The HTTP interface: reads requests, starts and steers runs, shows them. Decides nothing about migrations."""
