"""From a photo to the hands in it."""
