"""A loop over frames, wired from nodes: Open hands out frames, Close gathers results, a runner does the work.

ComfyUI cannot run a graph in circles, and a loop that expands into new nodes for every frame costs more with each
frame. Here Close expands into one runner node, which holds the nodes between Open and Close and calls them itself,
frame by frame.
"""
