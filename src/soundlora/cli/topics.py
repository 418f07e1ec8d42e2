"""Help that groups the flags of a command by topic, in plain text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from typer.core import TyperCommand


def by_topic(topics: Mapping[str, Sequence[str]]) -> type[TyperCommand]:
    """Return the class of a command whose help has headings. What has no topic stands below "Other".

    topics: the headings, each with the names of the parameters below it.
    """

    class TopicCommand(TyperCommand):
        def format_options(self, ctx: Any, formatter: Any) -> None:
            parameters = {each.name: each for each in self.get_params(ctx)}
            arguments = [name for name, each in parameters.items() if each.param_type_name == "argument"]
            placed = {name for names in topics.values() for name in names}.union(arguments)
            others = [name for name in parameters if name not in placed]
            for topic, names in {"Arguments": arguments, **topics, "Other": others}.items():
                rows = [row for name in names if (row := parameters[name].get_help_record(ctx)) is not None]
                if rows:
                    with formatter.section(topic):
                        formatter.write_dl(rows)

    return TopicCommand
