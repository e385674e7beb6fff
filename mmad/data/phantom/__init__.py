"""The embedded data set; its images are drawn."""

#: How the names of drawn data sets begin.
NAME = "phantom"


def is_phantom(name: str) -> bool:
    """Whether a data set of this name was drawn, not photographed."""
    return name.startswith(f"{NAME} (")
