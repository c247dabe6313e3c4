"""Makes the pages of ``docs/reference`` from the code, and helps mkdocs to build the site."""
