"""pbsbatch: overnight batch processing of peripheral blood smear slides."""

__all__ = ["__version__"]

__version__ = "0.1.0"
