"""Limits of a request and of its answer."""

MAX_LABELS = 1000
MAX_IMAGES = 64
MAX_TEMPLATES = 100
MAX_ACTIONS = 10
MAX_ACTION_CHARACTERS = 100
# The most squares that one request with `regions` may have: each image, and each square of its
# grid.
MAX_SQUARES = 200
MAX_PROMPTS = 2000
# A text that fits the context is far shorter. Categories' names and templates may be as long.
MAX_CHARACTERS = 1_000
# Cleaning takes up to 5 µs a character and 35 µs a line (measured on two cores of an AMD EPYC).
# These count every label and negative, in every template.
MAX_TOTAL_CHARACTERS = 300_000
MAX_TOTAL_LINES = 10_000
# The largest embeddings of open_clip's models have 1,280 numbers.
MAX_DIMENSION = 4_096
# Lambda fails on a response over 6 MB, after all the work was done.
MAX_ANSWER_BYTES = 5_500_000
# Bytes of one image in S3, and of all that one request reads there.
MAX_OBJECT_BYTES = 50_000_000
MAX_READ_BYTES = 60_000_000
