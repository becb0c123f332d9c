"""What a success criterion is and how it is measured; which criteria there are stands in `phases/validate.py`."""
