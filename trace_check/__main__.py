"""`python -m trace_check`."""

import sys

from trace_check.cli import main

sys.exit(main())
