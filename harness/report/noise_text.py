"""The words on one net against itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from scipy import stats

from harness.randomness import HELD
from harness.report.markdown import code, joined
from harness.report.numbers import NOTHING, decimals, number, p_value
from harness.settings.study import Study
from harness.statistics.noise import Against, Floor, Sum, added

if TYPE_CHECKING:
    from harness.report.noise import Source, Twins

HEAD = "## Real runs: one net against itself"


def absent(why: str) -> list[str]:
    """The section where there is nothing to show."""
    return [HEAD, "", why, ""]


def text(
    study: Study, sources: Sequence[Source], rows: Mapping[str, Sequence[Against]], twin: Twins, folder: str
) -> list[str]:
    """The section's lines. `rows`: by source, the mean of all last; the baseline has a floor."""
    whole = next(source for source in sources if source.name == study.baseline)
    assert whole.floor is not None  # noqa: S101 - without one `absent` is said
    files = ["noise.csv", *(["aa.csv"] if rows else [])]
    return [
        HEAD,
        "",
        f"The study [{study.name}]({study.name}.md) trains one net again and again. In {code(study.baseline)} every "
        "source of randomness follows the seed; in each other row one alone, while the others are held at what they "
        f"are with seed {HELD}. All runs are tested on the same {whole.floor.images:,} images. "
        f"The net is made cheap ({study.variants[study.baseline].epochs} epochs, {number(whole.floor.mean, 0)} % "
        "error): the sizes here are its own, those of other studies stand in their reports. What carries over is how "
        "the rows stand to each other, and p.",
        "",
        "### The noise floor by source",
        "",
        f"| what follows the seed | runs | error, % | sd, points | {100 * study.file.confidence:g} % interval | single "
        "images | images together | answered otherwise, % |",
        "|:--|--:|--:|--:|:-:|--:|--:|--:|",
        *(_floor_row(source) for source in sources),
        "",
        f"![Errors of the runs and their sd, by source]({folder}/noise.svg)",
        "",
        *_floor_legend(whole.floor),
        "",
        *_reading(study, sources),
        "",
        "### The same seeds twice",
        "",
        *_twin_lines(study, twin),
        "",
        "### Other seeds",
        "",
        *(_aa_lines(study, rows, folder) if rows else ["Too few runs are finished to cut them into arms.", ""]),
        f"Numbers: {joined([f'[{name}]({folder}/{name})' for name in files])}.",
        "",
    ]


def _floor_row(source: Source) -> str:
    f = source.floor
    runs = f"{source.runs}" if source.runs == source.declared else f"{source.runs} of {source.declared}"
    if f is None:
        return f"| {code(source.name)} | {runs} |" + f" {NOTHING} |" * 6
    places = decimals(f.sd)
    return (
        f"| {code(source.name)} | {runs} | {number(f.mean, places)} | {number(f.sd, places)} "
        f"| {number(f.low, places)} to {number(f.high, places)} | {number(f.flips, places)} "
        f"| {number(f.common, places)} | {number(f.disagree, 1)} |"
    )


def _floor_legend(f: Floor) -> list[str]:
    there = number(f.sd_on(4000), decimals((f.high - f.low) / 2))
    larger = (
        f" On 4,000 images, as the default study has, the same runs would have an sd of about {there}."
        if f.images != 4000
        else ""
    )
    return [
        "The interval is chi-square's, for normal errors. *Single images*: the sd that the error would have if each "
        "image's answer scattered by itself over the runs; it falls with the root of the number of images. *Images "
        "together*: the rest, images that turn wrong with each other. *Answered otherwise*: images that one of two "
        f"runs alone gets wrong, mean over all pairs.{larger}",
        "",
        f"The binomial floor of {f.images:,} images is {number(f.binomial)} points at this error. It says how far the "
        "error moves with *other images*, and is no part of these sds: a comparison on the same images is not held up "
        "by it, a statement on other images is.",
    ]


def _reading(study: Study, sources: Sequence[Source]) -> list[str]:
    """What the floors say of each other, as far as their intervals carry it."""
    whole = next(source.floor for source in sources if source.name == study.baseline)
    single = [source.floor for source in sources if source.floor and source.name != study.baseline]
    if whole is None or not whole.sd or len(single) < 2 or not any(one.sd for one in single):
        return ["Too few rows have runs that scatter to be held against each other."]
    alpha = 1 - study.file.confidence
    p = float(stats.levene(*(source.errors for source in sources if source.floor), center="median").pvalue)
    alike = "some rows scatter more than others" if p <= alpha else "that some scatter more than others is not shown"
    return [
        _sum_text(added(single, whole, study.file.confidence), len(single)),
        "",
        f"Brown and Forsythe's test of equal sds in all rows: p = {p_value(p)}; {alike}.",
    ]


def _sum_text(total: Sum, count: int) -> str:
    if total.low > 1:
        said = (
            "They do not add up: one source alone already sends the net to another of the many ends that it may come "
            "to, and the others send it little further, as Summers and Dinneen found (*ICML* 2021)."
        )
    elif total.high < 1:
        said = "Together the sources move the net further than each by itself."
    else:
        said = "Whether they add up to it cannot be told from so many runs: the interval holds 1."
    return (
        f"The variances of the {count} single sources come to {number(total.ratio, 1)} times that of all sources "
        f"together ({number(total.low, 1)} to {number(total.high, 1)}, by F). {said}"
    )


def _twin_lines(study: Study, twin: Twins) -> list[str]:
    lines = []
    if twin.variants:
        end = "came out equal to the last bit in weights, losses and answers" if twin.equal else "**differ**"
        lines.append(
            f"- With seed {HELD} every row draws the same numbers. "
            f"{joined([code(name) for name in twin.variants])} were trained apart with it (no two have one "
            f"fingerprint, so none is a copy) and {end}."
        )
    if twin.again:
        lines.append(
            f"- `harness verify` trained {twin.again} runs of {code(study.baseline)} again from their records; "
            f"{'all' if twin.sound == twin.again else twin.sound} came out with the same weights, losses, metrics and "
            "answers."
        )
    c = twin.comparison
    if c and not any(c.difference.values):
        found = "no interval and no p" if c.p is None and c.difference.low is None else f"p = {p_value(c.p)}"
        lines.append(
            f"- Compared by seed, as the report compares two variants, these {c.difference.n} runs and the same made "
            f"again differ by {number(c.difference.mean)} points on every seed; that gives {found}, and the verdict "
            f"{c.verdict}. What scatters, scatters with the seed alone."
        )
    return lines or ["No two runs of one seed are there that were trained apart."]


def _aa_lines(study: Study, rows: Mapping[str, Sequence[Against]], folder: str) -> list[str]:
    alpha = 100 * (1 - study.file.confidence)
    last = list(rows)[-1]
    shown = list(dict.fromkeys(name for name in (study.baseline, last) if name in rows))
    one = rows[shown[0]][0]
    return [
        "The runs of a row are cut at random into arms of different seeds, the first arm as the baseline, "
        f"{one.cuts:,} times, and each cut is judged as a study by the function that judges the report. Nothing "
        f"differs: a single p should be at most .05 in 5 % of comparisons, and at most {alpha:g} % of cuts should call "
        "something different. **Cuts of the same runs are not independent of each other**, so what their shares may be "
        "is not taken from a table but read from simulated sets of as many normal errors, cut as often. *Worth*: the "
        "number of independent comparisons whose share scatters as that of the simulated sets does; the interval is "
        "Wilson's for that number.",
        "",
        f"| runs | cut into | test | p ≤ .05, % | {100 - alpha:g} % interval | simulated | worth | called different, % "
        "| simulated | distance, p |",
        "|:--|:--|:--|--:|:-:|:-:|--:|--:|:-:|--:|",
        *(_aa_row(code(name) if name == study.baseline else name, row) for name in shown for row in rows[name]),
        "",
        f"![Distribution of p of one net against itself]({folder}/aa.svg)",
        "",
        f"*Simulated*: what {100 - alpha:g} % of simulated sets give; in the figure the band, for one row. *Distance*: "
        "how often the shares of a simulated set stray as far from their mean, anywhere between 0 and 1. *All rows*: "
        f"mean over the rows, each of which has runs of its own but for seed {HELD}'s, which are the same in all.",
        "",
        "Over many cuts of the same errors a t test is nearly a permutation test, which errs in alpha of all cuts "
        "whatever the errors are: that is why the cuts are worth about as much as their number. They can show that "
        "errors of real runs are too skewed or too heavy-tailed for these tests, and not that runs of one seed have "
        "something in common with those of another.",
        "",
        _aa_reading(rows[last]),
        "",
    ]


def _percent(value: float | None) -> str:
    return number(None if value is None else 100 * value, 1)


def _aa_row(name: str, one: Against) -> str:
    interval = NOTHING if one.share_low is None else f"{_percent(one.share_low)} to {_percent(one.share_high)}"
    return (
        f"| {name} | {one.design.name} of {one.seeds} | `{one.test}` | {_percent(one.share)} | {interval} "
        f"| {_percent(one.low[0])} to {_percent(one.high[0])} | {number(one.worth, 0)} | {_percent(one.family)} "
        f"| {_percent(one.family_low)} to {_percent(one.family_high)} | {p_value(one.distance_p)} |"
    )


def _aa_reading(rows: Sequence[Against]) -> str:
    outside = [
        f"`{one.test}` on {one.design.name}"
        for one in rows
        if not (one.low[0] <= one.share <= one.high[0] and one.family_low <= one.family <= one.family_high)
    ]
    if outside:
        return f"Outside of what simulated sets give: {joined(outside)}."
    return "On real runs every test errs as it does on simulated ones, as far as so many runs can tell."
