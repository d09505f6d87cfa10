import argparse
import sys

from .run import main

parser = argparse.ArgumentParser(prog='python -m soak', description=sys.modules['soak'].__doc__.splitlines()[0])
parser.add_argument('--seed', type=int, default=1, help='chooses the troubles (default: %(default)s)')
parser.add_argument('--seconds', type=float, default=60, help='how long they last (default: %(default)s)')
options = parser.parse_args()
sys.exit(main(options.seed, options.seconds))
