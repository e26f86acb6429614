"""`./dev package`: a Debian package with its Python environment inside, a wheel, an image for container engines."""
