"""What a report shows, and the HTML page that shows it."""

from .findings import Content

__all__ = ["Content"]
