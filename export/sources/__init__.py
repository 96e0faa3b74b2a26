"""What a bundle is made from: open_clip's description of a model, its weights, and their hubs."""
