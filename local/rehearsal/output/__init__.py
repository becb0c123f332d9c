"""How a rehearsal is shown: terminal, pictures, pages. Nothing is measured here."""
