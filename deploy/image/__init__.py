"""The image, tried out."""
