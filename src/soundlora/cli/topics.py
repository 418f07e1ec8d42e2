"""Help that groups the flags of a command by topic, in plain text."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand, TyperOption

_OTHERS = "Other"


class TopicCommand(TyperCommand):
    """A command whose flags name their topic as typer's `rich_help_panel`. Topics stand in the order of their flags."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        topics: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                topic = parameter.rich_help_panel if isinstance(parameter, TyperOption) else "Arguments"
                topics.setdefault(topic or _OTHERS, []).append(record)
        if _OTHERS in topics:
            topics[_OTHERS] = topics.pop(_OTHERS)  # at the end
        for topic, records in topics.items():
            with formatter.section(topic):
                formatter.write_dl(records)
