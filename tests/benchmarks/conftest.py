"""Makes the benchmarks' modules importable, as running their scripts from their own folder does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
