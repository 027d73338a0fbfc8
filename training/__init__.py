"""How the network inside the package, `fractal`, was made: images from formulas, and training on them."""
