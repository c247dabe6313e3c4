"""Write the reference anew: ``python -m docs._generator``."""

from __future__ import annotations

from docs._generator.reference import FOLDER, PAGES
from flywheel.config import json_schema


def main() -> None:
    """Write each page of the reference and the JSON Schema, and say which ones changed."""
    FOLDER.mkdir(exist_ok=True)
    for name, page in PAGES.items():
        path, made = FOLDER / name, page()
        if not path.is_file() or path.read_text(encoding="utf-8") != made:
            path.write_text(made, encoding="utf-8")
            print(f"wrote {path}")
    if json_schema.SHIPPED.read_text(encoding="utf-8") != json_schema.text():
        json_schema.SHIPPED.write_text(json_schema.text(), encoding="utf-8")
        print(f"wrote {json_schema.SHIPPED}")


if __name__ == "__main__":
    main()
