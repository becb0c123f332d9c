"""What is told of a run: its report and its handbook. Nothing is measured or decided here."""
