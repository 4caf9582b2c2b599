#!/usr/bin/python3
"""report.py LEGS BACKEND JSON: what scripts/load's legs have left behind, as figures and as tests of what must hold.

In LEGS there is a directory for each leg, in their order, N-with or N-without the module; of BACKEND its own figures are
asked. The figures are printed beside their targets and written to JSON. Ends with a line `N passed, N failed`, and fails
where a test does; a target that is missed is none.
"""

import glob
import json
import os
import re
import statistics
import sys
import urllib.request

SLICES = 10


class Said:
    """What the users of one tsung have said, and how long each answer took (ms), in about the order of time."""

    def __init__(self, directory):
        log = ''.join(glob.glob(directory + '/*/tsung.log'))
        text = read(log)
        self.expected = int(read(directory + '/messages'))
        self.ms = [float(ms) for ms in re.findall(r'\{sample,tr_said,([^}]+)\}', read(log[:-4] + '-fullstats.log'))]
        self.errors = sorted(set(re.findall(r'stats: (error_\w+)', text)))
        # Counted every ten seconds; the first and the last of them are not full.
        counts = [int(count) / 10 for count in re.findall(r'stats: tr_said (\d+)', text)]
        self.per_s = counts[1:-2] or counts


class Leg:
    def __init__(self, directory):
        self.name, self.log = os.path.basename(directory), read(directory + '/ejabberd/logs/ejabberd.log')
        self.has_module = self.name.endswith('-with')
        self.warm, self.load = Said(directory + '/warm'), Said(directory + '/load')
        self.start, self.end = numbers(read(directory + '/start')), numbers(read(directory + '/end'))

    def growth(self, of):
        return self.end[of] / self.start[of]


def read(path):
    if not os.path.exists(path):
        return ''
    with open(path) as file:
        return file.read()


def numbers(text):
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def percentile(values, part):
    return sorted(values)[int(part * len(values))]


def slices(values):
    size = len(values) // SLICES
    return [values[size * i:size * (i + 1)] for i in range(SLICES)]


def figures(without, module):
    """Rows: name, value, target (at most) or None, lowest and highest or None."""
    quiet = [ms for leg in without for ms in leg.load.ms]
    for name, part, target in ('p50', 0.5, 1.05), ('p99', 0.99, 1.15):
        base, value = percentile(quiet, part), percentile(module.load.ms, part)
        each = [percentile(values, part) for values in slices(module.load.ms)]
        bases = [percentile(values, part) for leg in without for values in slices(leg.load.ms)]
        yield 'session_%s_ratio' % name, value / base, target, [ms / base for ms in each]
        yield 'session_%s_ms' % name, value, None, each
        yield 'session_without_%s_ms' % name, base, None, bases
    yield 'memory_ratio', module.growth('resident'), 1.05, None
    growths = [leg.growth('resident') for leg in without]
    yield 'memory_without_ratio', statistics.mean(growths), None, growths
    yield 'memory_start_mb', module.start['resident'] / 1e6, None, None
    yield 'memory_peak_mb', module.end['peak'] / 1e6, None, None
    yield 'erlang_memory_ratio', module.growth('erlang'), None, None
    yield 'messages_per_s', statistics.median(module.load.per_s), None, module.load.per_s


def tests(legs, module, backend):
    end = module.end
    said = len(module.warm.ms) + len(module.load.ms)
    kept = end['delivered'] + end['pending'] + end['dead'] + end['cancelled'] + end['purged']
    yield 'the users have said all, and each got an answer', all(
        len(one.ms) == one.expected and not one.errors for leg in legs for one in (leg.warm, leg.load))
    yield 'what they have said was accepted', said == end['accepted'] and end['rejected'] == 0
    yield 'what was accepted is delivered or accounted for', end['accepted'] == kept
    yield 'all of it is delivered: failures cost attempts only', end['delivered'] == end['accepted']
    yield 'the backend has seen what is delivered', backend['delivered'] == end['delivered']
    yield 'it has stalled, and failed one request in twenty', (
        backend['stalled'] > 0 and 0.03 * backend['requests'] < backend['failed'] < 0.07 * backend['requests'] and end['retries'] >= backend['failed'])
    yield 'nothing crashed, and nothing waits for the disk', end['hook_crashes'] == end['uncommitted'] == 0
    yield 'no process or table of the server has kept what it was given', module.growth('erlang') < 1.25


def show(rows):
    print('\n%-24s %10s  %-8s %-5s %s' % ('figure', 'value', 'target', 'met?', 'lowest .. highest'))
    for name, value, target, each in rows:
        met = '' if target is None else 'yes' if value <= target else 'NO'
        print('%-24s %10.2f  %-8s %-5s %s' % (name, value, '' if target is None else '<= %g' % target, met,
                                             '%.2f .. %.2f' % (min(each), max(each)) if each else ''))
    met = [value <= target for _, value, target, _ in rows if target is not None]
    print('\n%d of %d targets met' % (sum(met), len(met)))


def main(directory, url, path):
    with urllib.request.urlopen(url) as answer:
        backend = numbers(answer.read().decode())
    legs = [Leg(leg) for leg in sorted(glob.glob(directory + '/*'))]
    module, = [leg for leg in legs if leg.has_module]
    complete = all(leg.load.ms for leg in legs)
    rows = list(figures([leg for leg in legs if not leg.has_module], module)) if complete else []
    show(rows)
    print('the backend: ' + ', '.join('%d %s' % (number, name) for name, number in backend.items()))
    print('the module: ' + ', '.join('%d %s' % (module.end[name], name) for name in (
        'accepted', 'delivered', 'pending', 'dead', 'cancelled', 'rejected', 'attempts', 'retries')) + '\n')
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as file:
        json.dump({name: round(value, 4) for name, value, _, _ in rows}, file, indent=2)
        print(file=file)
    passed = failed = 0
    for what, holds in tests(legs, module, backend):
        print('%s: %s' % ('passed' if holds else 'FAILED', what))
        passed, failed = passed + holds, failed + (not holds)
    if failed:
        for leg in legs:
            print('%s: errors of tsung %s; the last lines of ejabberd:' % (leg.name, leg.warm.errors + leg.load.errors))
            print(''.join(leg.log.splitlines(keepends=True)[-20:]))
    print('%d passed, %d failed' % (passed, failed))
    return failed > 0


if __name__ == '__main__':
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
