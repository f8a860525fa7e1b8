"""The directory target: a folder of images and a JSON catalogue. The embedded default and the reference backend.

``DIR`` can be a libvirt pool of type ``dir``: the image files lie directly in it.

* ``DIR/<fingerprint>.<format>``: an image. Written once, never rewritten or moved while it exists, because the
  overlays of running guests stand on it. Mode 0444, so that neither users nor guests write to it by accident.
* ``DIR/<title>.<format>``: a symbolic link to the file that is published under that title.
* ``DIR/catalogue.json``: ``{"images": [...]}``, replaced atomically. Records that nobody may use yet are in a second
  array, ``pending``, and names that are about to be removed in ``removing``; both are there only while they hold
  something. They share one file with ``images``, so that every change of state is one rename.
* ``DIR/.imagesync/``: lock files and what is being written.

Whatever else lies in the directory is somebody else's and stays as it is.
"""

from imagesync_directory.backend import open_backend

__all__ = ["open_backend"]
