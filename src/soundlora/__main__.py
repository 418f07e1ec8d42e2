"""`python -m soundlora` is the command line."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. It exits with 0 when all is done, else with a sentence and what `cli.app` says."""
    try:
        from soundlora.cli.app import main as run
    except KeyboardInterrupt:  # it was still starting
        sys.exit("soundlora: Stopped.")
    run()


if __name__ == "__main__":
    main()
