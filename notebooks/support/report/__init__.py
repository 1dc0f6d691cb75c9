"""What the report shows: its text, the explorer, the instrument, the pictures of claims."""
