"""`python -m tests.probes TABLE.json OUT [NAME...]`: run probes on the code of this tree."""

import sys
from pathlib import Path

from tests.probes.run import main

main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
