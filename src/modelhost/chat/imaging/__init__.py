"""Images that models make."""
