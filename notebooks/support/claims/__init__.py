"""The claims, their tests written down before the runs (claims.yaml), the scores these need, and what they find."""
