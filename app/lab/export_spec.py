"""The same run for a file, a terminal and a notebook: only what differs from the defaults. Pure functions."""

from __future__ import annotations

from app.shared.draft import needed_settings
from mlcore.commands.words import section_option
from mlcore.spec.defaults import PART_ROOMS
from mlcore.spec.run_spec import RunSpec


def differences_from_defaults(spec: RunSpec) -> dict[str, object]:
    """The settings in which a spec differs from the defaults of the parts that it names."""
    settings = spec.settings()
    return needed_settings(settings, {name: settings[name] for name in PART_ROOMS if settings[name] is not None})


def command_line(spec: RunSpec) -> str:
    lines = ["python -m mlcore train"]
    for name, value in differences_from_defaults(spec).items():
        if name in PART_ROOMS:
            lines.append(f"{section_option(name)} {value}")
        elif name == "budget.steps":
            lines.append(f"--steps {value}")
        elif name == "name":
            lines.append(f"--name {shell_quoted(str(value))}")
        else:
            lines.append(
                f"--set {name}={'null' if value is None else str(value).lower() if isinstance(value, bool) else value}"
            )
    return " \\\n  ".join(lines)


def shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def python_lines(spec: RunSpec) -> str:
    settings = ",\n".join(f"    {name!r}: {value!r}" for name, value in differences_from_defaults(spec).items())
    return (
        "from mlcore import RunSpec, train\n\n"
        f"spec = RunSpec.read({{}}).changed({{\n{settings},\n}})\n"
        "for event in train(spec):\n    print(event)\n"
    )
