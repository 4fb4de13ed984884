"""How the dictionaries of the embedded model were made: `make dictionaries` runs these scripts in order.

They read and write `build/dictionaries/`, and what is shipped goes to `SHIPPED`, the package's own folder.
"""

from pathlib import Path
from typing import Final

import steerwidgets.demo

SHIPPED: Final = Path(steerwidgets.demo.__file__).parent
"""Where the shipped files lie."""
