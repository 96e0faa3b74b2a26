"""What is ours in a bucket and on its bus."""

# Where a bucket holds what is ours, beside the pictures.
RESULTS = "results/"
MANIFESTS = "manifests/"
MAP_RUNS = "map-runs/"
EVENT_SOURCE = "clip-classifier"
