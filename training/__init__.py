"""How the network inside the package, `fractal`, was made: pictures from formulas, and training on them."""
