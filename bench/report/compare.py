"""What moved between a stored run and this one, beyond noise.

A measure has moved when its p10 to p90 no longer overlap and the medians are more than `floor`
apart: runs of the same binary a minute apart differ by a few per cent, however narrow the windows
of each were. Where there is a ratio to rte_hash, that must have moved likewise, and in the same
direction: what moves with rte_hash is the machine.
"""

from collections import namedtuple

from rows import MORE_IS_BETTER, label, together

Change = namedtuple("Change", "about measure before after share verdict")


def compare(rows, baseline, floor):
    """A Change for every measure of every row that both have, then for rows that one lacks."""
    now, then = together(rows), together(baseline)
    for about, values in now.items():
        if about not in then:
            yield Change(about, "", None, None, 0, "new")
            continue
        both = [name for name in values if name in then[about]]
        for name in both:
            yield judged(about, name, values, then[about], floor)
    for about in then:
        if about not in now:
            yield Change(about, "", None, None, 0, "gone")


def judged(about, name, now, then, floor):
    before, after = then[name], now[name]
    share = after.median / before.median - 1 if before.median else 0.0
    moved = direction(before, after, floor)
    if name.startswith("cycles_per_") and "ratio" in now and "ratio" in then:
        if direction(then["ratio"], now["ratio"], floor) != moved:
            verdict = "same" if moved == 0 else "machine"
            return Change(about, name, before, after, share, verdict)
    if name == "ratio":
        cycles = next((n for n in now if n.startswith("cycles_per_") and n in then), None)
        if cycles and direction(then[cycles], now[cycles], floor) != moved:
            return Change(about, name, before, after, share, "same" if not moved else "machine")
    if moved == 0:
        verdict = "same"
    else:
        verdict = "better" if (moved > 0) == bool(MORE_IS_BETTER.match(name)) else "worse"
    return Change(about, name, before, after, share, verdict)


def direction(before, after, floor):
    """1: more than before, -1: less, 0: within noise."""
    if before.median <= 0:
        return 0
    share = after.median / before.median - 1
    if share > floor and after.low > before.high:
        return 1
    if share < -floor and after.high < before.low:
        return -1
    return 0


def line(change):
    if change.before is None:
        return f"{change.verdict:8}{label(change.about)}"
    text = f"{change.verdict:8}{label(change.about)}: {change.measure.replace('_', ' ')} " \
           f"{change.before.median:g} -> {change.after.median:g} ({change.share:+.1%})"
    return text + (", and rte_hash with it or alone" if change.verdict == "machine" else "")
