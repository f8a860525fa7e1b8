"""Does an image start? A machine that is watched for a moment, and what was seen."""
