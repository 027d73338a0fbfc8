"""DeepDream video whose hallucinations stick to the moving world.

An image is (B,3,H,W) RGB float32 in 0..1; a mask is (B,1,H,W) with 1 = trust; a flow is (B,2,H,W)
in pixels, x first, pointing from the current frame to where each pixel was in the previous one.

`pipeline` is the whole of it; the other modules are its parts, each usable alone. Importing this package itself
loads nothing.
"""
