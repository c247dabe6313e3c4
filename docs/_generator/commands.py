"""Every command, from the program itself."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from docs._generator.markdown import code, table
from docs._generator.markdown import page as whole_page
from flows.cli.main import cli

_ABOUT = """\
`flywheel COMMAND --help` shows the same texts.
`make install` puts the program at `.venv/bin/flywheel`.
`-u` names the use case: a name from `usecases/`, or the path of a YAML file.

| Exit code | Means |
| --- | --- |
| 0 | done; a night that promoted nobody is done, too |
| 1 | failed; the last line on stderr says why, and what to do |
| 2 | wrong usage, or a use case file that cannot be used |
| 130, 143 | stopped by Ctrl-C, or by SIGTERM; the same command goes on |

Results go to stdout, and messages to stderr.
With `--json` stdout holds one JSON document.

A command that fails with `--json` ends stderr with one line of JSON, and stdout stays empty:

```json
{"error": {"type": "ConfigError", "message": "There is no use case ..."}}
```

`type` is a name from [Errors](errors.md), `UsageError` for wrong usage, `Stopped`, or `OSError`.
Exit code 1 with a document on stdout means that the document itself says what is wrong.

Words are colored on a terminal; `NO_COLOR=1` switches that off."""


def page() -> str:
    """The page of the command line."""
    assert isinstance(cli, click.Group)
    return whole_page("Command line", _ABOUT, *(_section(*one) for one in _every(cli)))


def _every(group: click.Group, above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Each command by the words that one types, those within a command after it."""
    for name, command in group.commands.items():
        yield f"{above}{name}", command
        if isinstance(command, click.Group):
            yield from _every(command, f"{above}{name} ")


def _section(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"flywheel {name}")
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    text, examples = _halves(inspect.cleandoc(command.help or ""))
    options = [_row(one) for one in command.params if isinstance(one, click.Option)]
    parts = [f"## {code(name)}", text, f"Usage: {code(usage)}"]
    parts += [table(("Option", "Value", "Default", "What it does"), options)] if options else []
    return "\n\n".join([*parts, *examples])


def _halves(text: str) -> tuple[str, list[str]]:
    """What a command does, and its examples as a block of shell commands."""
    said, _, shown = text.partition("\b\n")
    lines = [re.sub(r"^(Example: | {9})", "", line) for line in shown.strip().splitlines()]
    if not lines:
        return said.strip(), []
    typed = "\n".join(line if line.startswith(" ") else f"$ {line}" for line in lines)
    return said.strip(), [f"```console\n{typed}\n```"]


def _row(option: click.Option) -> tuple[str, str, str, str]:
    names = ", ".join(code(one) for one in (*option.opts, *option.secondary_opts))
    return names, _value(option), _default(option), option.help or ""


def _value(option: click.Option) -> str:
    if option.is_flag:
        return ""
    if isinstance(option.type, click.Choice):
        return ", ".join(code(one) for one in option.type.choices)
    if isinstance(option.type, click.DateTime):
        return code("TIME")
    return code(option.metavar or option.type.name.upper().removesuffix(" RANGE"))


def _default(option: click.Option) -> str:
    if option.required:
        return "**needed**"
    return code(option.default) if option.show_default else ""
