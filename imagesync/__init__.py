"""imagesync keeps a cloud's image catalogue equal to what signed HEPiX image lists say."""

__version__ = "0.1.0"
