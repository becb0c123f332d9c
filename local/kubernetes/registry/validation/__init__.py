"""What the API server refuses although it is well-formed. Not what the schema refuses already."""
