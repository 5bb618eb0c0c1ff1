"""Files that are written whole or not at all, and judged before they are believed."""
