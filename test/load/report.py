#!/usr/bin/python3
"""report.py LEGS JSON: what scripts/load's legs have left behind, as figures and as tests of what must hold.

In LEGS there is a directory for each leg, `with` the module and, for each of the other servers, with it and without it
by `turns_1`, `turns_2` and so on. The figures are printed beside their targets and written to JSON. Ends with a line
`N passed, N failed`, and fails where a test does; a target that is missed is none.
"""

import glob
import itertools
import json
import os
import re
import statistics
import sys


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
        self.warm, self.load = Said(directory + '/warm'), Said(directory + '/load')
        self.start, self.end = numbers(read(directory + '/start')), numbers(read(directory + '/end'))
        self.backend = numbers(read(directory + '/backend'))
        # The first with the module, the second without it, and so on. Of the first and the last some users were not there.
        marks = [0] + [int(mark) for mark in read(directory + '/turns').split()]
        turns = [self.load.ms[begin:end] for begin, end in zip(marks, marks[1:])]
        full = max(map(len, turns), default=0) // 2
        self.turns = [middle(turn) for turn in itertools.takewhile(lambda turn: len(turn) > full, turns[1:])]

    def growth(self, of):
        return self.end[of] / self.start[of]

    def used(self, when):
        """What is resident, without what Erlang's allocators hold and nobody uses: that depends on where the last of 2,000
        sessions happened to lie when they went."""
        return when['resident'] - when['erlang_idle']


def read(path):
    if not os.path.exists(path):
        return ''
    with open(path) as file:
        return file.read()


def numbers(text):
    return {name: int(number) for name, number in (line.split() for line in text.splitlines())}


def percentile(values, part):
    return sorted(values)[int(part * len(values))]


def middle(values):
    """Without what was said while one turn ended and the next began."""
    edge = len(values) // 10
    return values[edge:len(values) - edge]


def figures(leg, others):
    """Rows: name, value, target (at most) or None, and what its spread is of, or None."""
    for name, part, target in ('p50', 0.5, 1.05), ('p99', 0.99, 1.15):
        ratios, with_ms, without_ms = [], [], []
        for other in others:
            each = [percentile(values, part) for values in other.turns]
            # Beside the turns before and after it: a machine that gets slower or faster does so for all three.
            own = [2 * each[i] / (each[i - 1] + each[i + 1]) for i in range(1, len(each) - 1, 2)]
            yield 'session_%s_ratio_%s' % (name, other.name[-1]), statistics.median(own), None, own
            ratios, with_ms, without_ms = ratios + own, with_ms + each[1::2], without_ms + each[::2]
        for what, values, at_most in ('ratio', ratios, target), ('with_ms', with_ms, None), ('without_ms', without_ms, None):
            yield 'session_%s_%s' % (name, what), statistics.median(values), at_most, values
        yield 'session_stalled_%s_ms' % name, percentile(leg.load.ms, part), None, None
    yield 'memory_ratio', leg.used(leg.end) / leg.used(leg.start), 1.05, None
    yield 'memory_start_mb', leg.used(leg.start) / 1e6, None, None
    yield 'memory_resident_ratio', leg.growth('resident'), None, None
    yield 'memory_peak_mb', leg.end['peak'] / 1e6, None, None
    yield 'erlang_memory_ratio', leg.growth('erlang'), None, None
    yield 'messages_per_s', statistics.median(leg.load.per_s), None, leg.load.per_s


def tests(leg, others):
    for one in [leg] + others:
        said, end = len(one.warm.ms) + len(one.load.ms), one.end
        kept = end['delivered'] + end['pending'] + end['dead'] + end['cancelled'] + end['purged']
        yield one, 'the users have said all, and each got an answer', all(
            len(part.ms) == part.expected and not part.errors for part in (one.warm, one.load))
        if one is leg:
            yield one, 'what they have said was accepted', said == end['accepted'] and end['rejected'] == 0
        else:
            yield one, 'about half of what they have said was accepted', 0.3 < end['accepted'] / said < 0.7
        yield one, 'what was accepted is delivered or accounted for', end['accepted'] == kept
        yield one, 'all of it is delivered: failures cost attempts only', end['delivered'] == end['accepted']
        yield one, 'the backend has seen what is delivered', one.backend['delivered'] == end['delivered']
        yield one, 'nothing crashed, and nothing waits for the disk', end['hook_crashes'] == end['uncommitted'] == 0
    seen = leg.backend
    yield leg, 'it has stalled, and failed one request in twenty', (
        seen['stalled'] > 0 and 0.03 * seen['requests'] < seen['failed'] < 0.07 * seen['requests']
        and leg.end['retries'] >= seen['failed'])
    yield leg, 'no process or table of the server has kept what it was given', leg.growth('erlang') < 1.25


def show(rows):
    print('\n%-24s %10s  %-8s %-5s %s' % ('figure', 'value', 'target', 'met?', 'lowest .. highest'))
    for name, value, target, each in rows:
        met = '' if target is None else 'yes' if value <= target else 'NO'
        print('%-24s %10.2f  %-8s %-5s %s' % (name, value, '' if target is None else '<= %g' % target, met,
                                             '%.2f .. %.2f' % (min(each), max(each)) if each else ''))
    met = [value <= target for _, value, target, _ in rows if target is not None]
    print('\n%d of %d targets met' % (sum(met), len(met)))


def main(directory, path):
    leg, others = Leg(directory + '/with'), [Leg(path) for path in sorted(glob.glob(directory + '/turns_*'))]
    legs = [leg] + others
    complete = leg.load.ms and others and all(len(other.turns) >= 3 for other in others)
    rows = list(figures(leg, others)) if complete else []
    show(rows)
    for one in legs:
        print('%s: the backend: %s' % (one.name, ', '.join('%d %s' % (n, name) for name, n in one.backend.items())))
        print('%s: the module: %s' % (one.name, ', '.join('%d %s' % (one.end[name], name) for name in (
            'accepted', 'delivered', 'pending', 'dead', 'cancelled', 'rejected', 'attempts', 'retries'))))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w') as file:
        json.dump({name: round(value, 4) for name, value, _, _ in rows}, file, indent=2)
        print(file=file)
    passed = failed = 0
    for one, what, holds in tests(leg, others):
        print('%s: %s: %s' % ('passed' if holds else 'FAILED', one.name, what))
        passed, failed = passed + holds, failed + (not holds)
    if failed or not complete:
        for one in legs:
            print('%s: errors of tsung %s; the last lines of ejabberd:' % (one.name, one.warm.errors + one.load.errors))
            print(''.join(one.log.splitlines(keepends=True)[-20:]))
    print('%d passed, %d failed' % (passed, failed + (not complete)))
    return failed > 0 or not complete


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
