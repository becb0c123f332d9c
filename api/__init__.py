"""HTTP and timers: reads requests, starts and steers runs, shows them. Decides nothing about migrations."""
