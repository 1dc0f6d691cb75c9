"""How numbers, text, tables and pictures are shown: what several questions share."""
