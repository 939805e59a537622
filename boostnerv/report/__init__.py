"""Tables and figures, made from points.csv and training logs alone."""
