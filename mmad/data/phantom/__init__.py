"""The embedded data set; its images are drawn."""

#: How the names of drawn data sets begin.
NAME = "phantom"
#: How many images there are by default, and their side in pixels.
STUDIES, IMAGE_SIZE = 480, 256


def is_phantom(name: str) -> bool:
    """Whether a data set of this name was drawn, not photographed."""
    return name.startswith(f"{NAME} (")
