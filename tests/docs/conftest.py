"""Makes the modules that build the site importable, as running scripts/docs_site/build.py does."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "docs_site"))
