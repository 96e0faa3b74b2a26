"""The API for a server with several workers, on the bundle that CLIP_BUNDLE names; compose.yaml
runs it in the container image.
"""

import logging
import os

from classifier.main import handler
from tools.local.gateway import Gateway, Limits
from tools.local.serve import Lines

lines = logging.StreamHandler()
lines.setFormatter(Lines("%(asctime)s %(message)s", "%H:%M:%S"))
logging.getLogger().addHandler(lines)
app = Gateway(handler, Limits(api_key=os.environ.get("API_KEY") or None))
