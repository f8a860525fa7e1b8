"""The directory target: a folder of images and a JSON catalogue."""
