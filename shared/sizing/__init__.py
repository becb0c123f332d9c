"""How much: connections, sizes of servers, costs. Figures in, figures out; no manifest and no request."""
