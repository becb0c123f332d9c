"""Services: their names, addresses and connections. Nothing of a single pod."""
