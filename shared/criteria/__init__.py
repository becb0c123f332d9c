"""What a success criterion is and how it is measured. Which there are stands in `phases.validate`."""
