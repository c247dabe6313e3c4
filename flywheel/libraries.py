"""Which versions of libraries are installed, and whose decide what a model answers."""

from __future__ import annotations

import functools
import importlib.metadata

# their versions are part of a model's digest and of what a registered version requires
DECISIVE_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes")
# and where the inputs are pictures
PICTURE_LIBRARIES = ("pillow",)

# what a process has loaded stays, and a night asks for it dozens of times
version = functools.cache(importlib.metadata.version)


def library_version(name: str) -> str:
    """The installed version; of torch without the build's tag.

    2.13.0+cpu and 2.13.0+cu130 are one version for two machines, and no index has the tagged one.
    """
    found = version(name)
    return found.partition("+")[0] if name == "torch" else found
