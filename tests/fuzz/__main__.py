"""Searches by coverage, each target in a process of its own: `make fuzz`.

Inputs that reach new lines of `delayed` are kept under .cache/fuzz, where the next run begins; so is what breaks
a promise.
"""

import argparse
import hashlib
import resource
import subprocess
import sys
from pathlib import Path

KEPT = Path(__file__).parent.parent.parent / '.cache' / 'fuzz'
NAMES = 'payload', 'plain', 'description', 'letter', 'frame'
_MEMORY = 3 << 30  # bytes: a pickle of a few bytes can ask for any number


def main():
    parser = argparse.ArgumentParser(prog='python -m fuzz', description='Fuzzes by coverage, with atheris.')
    parser.add_argument('--seconds', type=int, default=60, help='for all targets together (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=1, help='(default: %(default)s)')
    parser.add_argument('--target', choices=NAMES, help='this one, in this process')
    args = parser.parse_args()
    try:
        import atheris
    except ImportError:
        print('there is no atheris here; tests/test_fuzz.py does without')
        return 0
    if args.target:
        return search(atheris, args.target, args.seconds, args.seed)
    broken = [name for name in NAMES if subprocess.run([
        sys.executable, '-m', 'fuzz', '--target', name, '--seed', str(args.seed),
        '--seconds', str(max(args.seconds // len(NAMES), 1))]).returncode]
    print('broken: %s; see %s' % (', '.join(broken), KEPT) if broken else 'no promise was broken')
    return int(bool(broken))


def search(atheris, name, seconds, seed):
    with atheris.instrument_imports(include=['delayed', 'pickletools']):
        from fuzz.targets import TARGETS
    from fuzz import canary
    target, examples = TARGETS[name]
    corpus = KEPT / name
    corpus.mkdir(parents=True, exist_ok=True)
    for example in examples:
        (corpus / hashlib.sha1(example).hexdigest()).write_bytes(example)
    canary.place(KEPT / ('canary-%s' % name))
    (KEPT / ('canary-%s' % name)).unlink(missing_ok=True)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
    atheris.Setup([
        name, str(corpus), '-max_total_time=%d' % seconds, '-seed=%d' % seed, '-max_len=2000', '-rss_limit_mb=0',
        '-timeout=30', '-verbosity=0', '-print_final_stats=1', '-artifact_prefix=%s/%s-' % (KEPT, name)], target)
    atheris.Fuzz()  # ends this process
    return 1


if __name__ == '__main__':
    sys.exit(main())
