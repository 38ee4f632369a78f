"""Builds the images of the Containerfile without Docker and without an image registry: `python -m image_build --help`.

The Containerfile stays the one description of what is in an image: its instructions are carried out here as they stand,
in overlays and a chroot.  Only `FROM` a public image differs, which is made of Debian's own packages instead.
"""
