import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from fix_told import told

__all__ = ["told"]
