"""Measures: tensors to numbers. Nothing here trains a model of the method or knows a run's folder."""
