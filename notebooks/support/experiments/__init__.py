"""One module per question that the report asks of trained models: its tables, figures and finding."""
