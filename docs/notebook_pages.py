"""A page of the site for every notebook in this folder. mkdocs calls `on_files`, see `mkdocs.yml`.

A notebook is kept without its outputs, so its page is its words and its code, and needs no plugin.
"""

import json
from typing import Any

FENCE = "```"


def page_of(name: str, notebook: str) -> str:
    """The cells of a notebook, given as its file holds it, as Markdown."""
    parts = []
    for cell in json.loads(notebook)["cells"]:
        source = "".join(cell["source"])
        parts.append(f"{FENCE}python\n{source}\n{FENCE}" if cell["cell_type"] == "code" else source)
    title, *others = parts
    note = f"This page is a notebook without its outputs: [{name}]({name}), to be run in Jupyter."
    return "\n\n".join([title, note, *others]) + "\n"


def on_files(files: Any, config: Any) -> Any:
    """The files of the site, and beside every notebook NAME.ipynb the page NAME.md."""
    from mkdocs.structure.files import File

    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        page = page_of(file.name + ".ipynb", file.content_string)
        files.append(File.generated(config, file.src_uri.removesuffix(".ipynb") + ".md", content=page))
    return files
