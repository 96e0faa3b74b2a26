"""What goes wrong while a bundle is made."""


class ExportError(Exception):
    """An export that can't be made; the message says why and what would do."""
