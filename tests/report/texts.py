"""All of what a report says as text, which the terminal shows the first lines of."""

import io

from jaxprune.report import Words, open_console


def whole(words: Words) -> str:
    """Alarms, tables and sentences, none of them cut to fit on a screen."""
    console = open_console(io.StringIO())
    for part in (*words.alarms, *words.tables, *words.lines):
        console.print(part)
    return console.file.getvalue()
