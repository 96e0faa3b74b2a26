"""Images and labels in, probabilities out: CLIP behind a Lambda handler."""
