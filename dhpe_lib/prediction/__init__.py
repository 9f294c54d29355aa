"""From a photo to the files of a hand mesh."""
