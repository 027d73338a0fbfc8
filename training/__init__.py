"""Training of the network inside the package, `fractal`, on images made by formulas."""
