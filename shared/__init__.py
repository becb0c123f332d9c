"""What phases and HTTP have in common: words, pure decisions, ports and their adapters. Knows no phase."""
