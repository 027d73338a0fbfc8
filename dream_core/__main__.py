"""`python -m dream_core` is the command `deepdream-video`."""

import sys

from .cli import main

sys.exit(main())
