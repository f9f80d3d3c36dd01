"""`python -I -m fastness.engines.fake '<task as JSON>'` serves until SIGTERM."""

import sys

from fastness.engines.fake.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
