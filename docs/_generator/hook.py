"""What mkdocs is told beside `mkdocs.yml`: links to files that are no pages become their paths.

A link from a page to the code is right where the repository is read, and leads nowhere on the site,
which does not know where the repository is. So the site shows the file's path, as code.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath
from typing import Any

_LINK = re.compile(
    r"(?<!!)\[(?P<text>(?:[^\[\]]|\[[^\]]*\])*)\]\((?P<target>\.\.?/[^)#\s]*)(?:#[^)]*)?\)"
)


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """A page as the site shows it."""
    folder = PurePosixPath(Path(config["docs_dir"]).name, page.file.src_uri).parent

    def shown(link: re.Match[str]) -> str:
        path = normpath(str(folder / link["target"]))
        if path.startswith(f"{Path(config['docs_dir']).name}/"):
            return link[0]
        text = link["text"]
        return text if path.strip("/") == text.strip("`/") else f"{text} (`{path}`)"

    return _LINK.sub(shown, markdown)
