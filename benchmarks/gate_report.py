"""What `benchmarks.gate` found, as a table, a plot and a page."""

# the page has one sentence a line
# ruff: noqa: E501

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.lives import SCENARIOS, SETTINGS

Found = Mapping[str, Any]
SHOWN_POLICIES = {
    "flywheel": "**flywheel**",
    "point_estimate": 'point estimate "≥"',
    "absolute_floor": "absolute floor",
    "stored_score": "stored score",
    "nightly_test": "a test at 5 % each night",
    "thresholdout": "Thresholdout",
    "ease_ml_ci": "ease.ml/ci",
}
SHOWN_SCENARIOS = {
    "equal": "equal",
    "better_5pt": "5 points better",
    "worse_3pt": "3 points worse",
    "drift": "drift",
    "adversarial": "adversarial",
}
"""What README calls them."""
COLUMNS = (
    "setting",
    "scenario",
    "policy",
    "wrong lives",
    "95 % interval",
    "truly worse",
    "nights to promote",
    "promotions",
    "final accuracy",
)


def table(results: Iterable[Found]) -> str:
    """The results as a Markdown table; nights are the median, with the 90th percentile."""
    lines = [_line(COLUMNS), _line(["---"] * 3 + ["--:"] * 6)]
    for row in results:
        low, high = row["wrong_95"]
        lines.append(
            _line(
                (
                    row["setting"],
                    row["scenario"],
                    f"**{row['policy']}**" if row["policy"] == "flywheel" else row["policy"],
                    _share(row["wrong_promotion_rate"]),
                    f"{100 * low:.1f} to {100 * high:.1f} %",
                    _share(row["worse_promotion_rate"]),
                    _nights(row),
                    f"{row['promotions_per_life']:.2f}",
                    _share(row["final_accuracy"]),
                )
            )
        )
    return "\n".join(lines)


def summary(results: Iterable[Found]) -> str:
    """README's table: wrong lives where each row is a group, and how long 5 points wait."""
    pick = {(r["setting"], r["scenario"], r["policy"]): r for r in results}
    waits = "nights until the better one is promoted, median (90 %)"
    heads = ["lives with a wrong promotion", *SHOWN_SCENARIOS.values(), waits, "in groups"]
    lines = [_line(heads), _line(["---"] + ["--:"] * (len(heads) - 1))]
    for policy, shown in SHOWN_POLICIES.items():
        rates = [
            f"{100 * pick['rows', scenario, policy]['wrong_promotion_rate']:.3g} %"
            for scenario in SHOWN_SCENARIOS
        ]
        nights = [_nights(pick[setting, "better_5pt", policy]) for setting in ("rows", "groups")]
        lines.append(_line([shown, *rates, *nights]))
    return "\n".join(lines)


def plot(document: Found, path: Path) -> None:
    """Draw the wrong lives of every policy and scenario, and how long a gain waits."""
    results = [row for row in document["results"] if row["setting"] == "rows"]
    names = list(dict.fromkeys(row["policy"] for row in results))
    scenarios = [name for name in SCENARIOS if any(row["scenario"] == name for row in results)]
    panels = [name for name in scenarios if name != "late_5pt"]
    waits = [name for name in ("better_5pt", "late_5pt") if name in scenarios]
    style = {"svg.hashsalt": "gate", "svg.fonttype": "none", "font.size": 9}
    with matplotlib.rc_context(style):
        drawn, axes = pyplot.subplots(
            1,
            len(panels) + 1,
            figsize=(2.0 * len(panels) + 4.2, 3.2),
            sharey=True,
            squeeze=False,
            width_ratios=[1.0] * len(panels) + [1.5],
        )
        for axis, scenario in zip(axes[0], panels, strict=False):
            _rates(axis, results, names, scenario, document["alpha"])
        _waits(axes[0][-1], results, names, waits)
        axes[0][0].set_yticks(range(len(names)), names)
        axes[0][0].invert_yaxis()
        lives = results[0]["lives"]
        drawn.suptitle(
            f"Lives with a wrong promotion, of {lives:,} lives of {document['nights']} nights "
            f"(95 % interval; dashed: alpha = {100 * document['alpha']:g} %)",
            x=0.01,
            ha="left",
        )
        drawn.tight_layout()
        plain = {"Date": None} if path.suffix == ".svg" else None
        drawn.savefig(path, metadata=plain, dpi=110)
        pyplot.close(drawn)


def _rates(
    axis: Any, results: Sequence[Found], names: Sequence[str], scenario: str, alpha: float
) -> None:
    for height, name in enumerate(names):
        for row in results:
            if (row["policy"], row["scenario"]) == (name, scenario):
                colour = "tab:blue" if name == "flywheel" else "0.35"
                low, high = row["wrong_95"]
                axis.plot([low, high], [height, height], color=colour, linewidth=2)
                axis.plot(row["wrong_promotion_rate"], height, "o", color=colour, markersize=6)
    axis.axvline(alpha, color="tab:red", linestyle="--", linewidth=1)
    axis.set_xscale("symlog", linthresh=0.05, linscale=1.0)
    axis.set_xlim(-0.004, 1.25)
    axis.set_xticks([0, alpha, 0.2, 1], ["0", f"{100 * alpha:g} %", "20 %", "all"])
    axis.minorticks_off()
    axis.set_title(scenario, fontsize=9)
    axis.grid(axis="y", color="0.9")
    axis.set_axisbelow(True)


def _waits(axis: Any, results: Sequence[Found], names: Sequence[str], waits: Sequence[str]) -> None:
    for offset, (scenario, marker) in enumerate(zip(waits, "os", strict=False)):
        for height, name in enumerate(names):
            for row in results:
                if (row["policy"], row["scenario"]) != (name, scenario):
                    continue
                colour = (
                    ("tab:blue" if name == "flywheel" else "0.35") if not offset else "tab:orange"
                )
                median = row["median_nights_to_promote"]
                at = 0.22 * (2 * offset - 1) + height
                if median is None:
                    axis.text(1000, at, "never", color=colour, ha="right", va="center", fontsize=8)
                else:
                    axis.plot(median, at, marker, color=colour, markersize=5)
    for offset, scenario in enumerate(waits):
        axis.plot([], [], "os"[offset], color="tab:orange" if offset else "0.35", label=scenario)
    axis.set_xscale("log")
    axis.set_xlim(0.8, 1100)
    axis.set_xticks([1, 10, 100], ["1", "10", "100"])
    axis.minorticks_off()
    axis.set_title("median nights to promote a gain", fontsize=9)
    axis.grid(axis="y", color="0.9")
    axis.legend(fontsize=7, loc="upper right", bbox_to_anchor=(1.0, -0.1), ncols=2, frameon=False)


def page(document: Found) -> str:
    """The page: the table, how it was made, why this policy, and where it loses."""
    results = document["results"]
    pick = {(r["setting"], r["scenario"], r["policy"]): r for r in results}
    ours = [row for row in results if row["policy"] == "flywheel"]
    shipped = {key: row for key, row in document.get("choices", [{}])[0].items() if key != "choice"}
    ours += [
        dict(row, setting=key.partition(".")[0], scenario=key.partition(".")[2])
        for key, row in shipped.items()
    ]
    worst = max(ours, key=lambda row: row["wrong_promotion_rate"])
    rows, groups = (pick[(name, "better_5pt", "flywheel")] for name in ("rows", "groups"))
    late = pick[("rows", "late_5pt", "flywheel")]
    yardstick = pick[("rows", "better_5pt", "ease_ml_ci")]
    yardstick_late = pick[("rows", "late_5pt", "ease_ml_ci")]
    naive = pick[("rows", "better_5pt", "nightly_test")]
    drift = pick[("rows", "drift", "flywheel")]
    spoiled = pick[("rows", "spoiled", "flywheel")]
    meanings = "\n".join(f"- `{s.name}`: {s.meaning}." for s in SCENARIOS.values())
    policies = "\n".join(f"- `{name}`: {said}" for name, said in document["policies"].items())
    setting = SETTINGS["rows"]
    few, grouped = SETTINGS["few"], SETTINGS["groups"]
    return f"""# The promotion gate over whole lives

Written by `python -m benchmarks.gate --write`; do not edit.
{worst["lives"]:,} lives of {document["nights"]} nights in each row, fixed seeds; the policy of version {document["version"]}.

![Wrong lives and nights to promote, for each policy and scenario](gate.svg)

**Guarantee.** The chance of *ever* promoting a challenger that is no better than its champion is to be at most {100 * document["alpha"]:g} % over a whole life, as long as no other challenger that stood trial against that champion is better.
Where some are better, no proof says that the one that is promoted is: its own rows must speak for it, and `spoiled` measures how often that is not enough.
The most that `flywheel` showed anywhere is {_share(worst["wrong_promotion_rate"])} (scenario `{worst["scenario"]}`, setting `{worst["setting"]}`; 95 % interval {100 * worst["wrong_95"][0]:.1f} to {_share(worst["wrong_95"][1])}).

**Power.** A challenger truly 5 points better is promoted after {_few(rows)} (90 % of lives: {_few(rows, "nights_to_promote_90")}) where every row is a group of its own, and after {_few(groups)} ({_few(groups, "nights_to_promote_90")}) where rows come in groups that go right or wrong together.

## Results

{table(results)}

"Nights to promote" is the median over lives until the first promotion of a challenger that is truly better, with the 90th percentile in brackets; in `late_5pt` it counts from the first night with such a challenger.
A promotion is wrong when the challenger is truly no better; "truly worse" leaves out those of exactly equal ones.

## How it was made

Settings:

- `rows`: a holdout of {setting.holdout_groups} rows, {setting.fresh_groups} fresh rows a night, each a group of its own.
- `groups`: a holdout of {grouped.holdout_groups} groups of {grouped.holdout_group_size} rows and {grouped.fresh_groups} fresh groups of {grouped.fresh_group_size} a night; with chance {100 * grouped.together:g} % the rows of a group share one fate.
- `few` (below): a holdout of {few.holdout_groups} rows and {few.fresh_groups} fresh rows a night.

Two models differ on {100 * setting.disagreement:g} % of the rows; a fresh label names the other model's answer with chance {100 * setting.rater_error:g} %; the holdout's labels are gold.
A challenger is its champion with rows changed, on the holdout as in truth, so that a champion that was lucky on the holdout loses more of them again.
Training starts with {setting.train:,} examples and grows by {setting.grows} a night. Each night's newest challenger takes the place of the one on trial, and what was shown counts on; one whose own rows speak for it stays, until a newer one learned from `restart_growth` more examples.

Scenarios:

{meanings}

The adversary of `adversarial` reads every holdout score, also where only the verdict counts in the proof. In three tenths of the groups nobody can do better than guess, and there it combines its random answers by how well each scored (Blum and Hardt 2015); every fourth of its challengers is the champion with few answers changed. In `groups` it answers the rows of half the groups alike, and they go right or wrong together.

A night decides as the shipped gate (`tests/gate/test_gate_lives.py` plays both); rules that can only refuse, such as floors and slices, are left out. The promise holds with them, because the budget of a question or a trial is spent whatever they say.

Policies:

{policies}

`absolute_floor` and `point_estimate` are what ZenML's projects and Jeongho-K/data-flywheel do with margin 0, `stored_score` what bewaffnete/gamesense does: their rules, not their code, with gold labels.
The sets that `thresholdout`, `ease_ml_ci` and `stored_score` have beside the holdout are drawn row by row, also in `groups`, which favours them.
`nightly_test` was our own gate before.

## Why this policy

- A point estimate, a floor and a stored score have no budget at all: over enough nights noise wins once. A test at {100 * document["alpha"]:g} % a night keeps its promise for one night.
- `thresholdout` promises *answers* within a tolerance, on holdouts larger than these; a decision on top of them has no error rate.
- `ease_ml_ci` keeps the promise, but pays for 32 adaptive questions at once: with the same labels it promotes after {_few(yardstick)}, and its labels cannot train meanwhile. Where it has had the time to lay up a large test set it is the faster one: {_few(yardstick_late)} in `late_5pt`, ours {_few(late)}.
- A holdout alone is exhausted after a few verdicts, because each that is not "undecided" costs a factor; trials on fresh rows alone miss the promotion in the first night. Together they have both ("no trials" and "no holdout" below).
- All that stood trial against a champion is one question: has what is learned become better? Were each challenger asked for itself, every newer one would begin with nothing ("each challenger for itself" below).
- What trials have left when the champion changes goes to the next. Without that, the level falls with every trial.
- On the holdout, rows of a group count as one bet. Exchanging signs, the usual test for groups, is no test of the mean gain: a challenger that wins many groups a little and loses few of them entirely passes it at any level.

{_choices(document)}
## Where it loses

- A naive gate is faster: `nightly_test` promotes the same challenger after {_few(naive)} (90 % of lives: {_few(naive, "nights_to_promote_90")}) and is wrong in {_share(pick[("rows", "equal", "nightly_test")]["wrong_promotion_rate"])} of the lives of `equal`.
- Small gains take long or are never shown: in `drift`, whose best challengers are 1 point better for a while, {_share(drift["promoted_better_rate"])} of lives promote one.
- After months of challengers that were no better, the holdout no longer helps, and the levels of trials are small: see `late_5pt`, where {_few(late)} pass.
- With few fresh rows, or rows in groups that depend on each other, nights become weeks: see `few` and `groups`.
- Where most challengers are better and one is not, it can be promoted on what the others showed: {_share(spoiled["wrong_promotion_rate"])} of the lives of `spoiled`, {_share(pick[("groups", "spoiled", "flywheel")]["wrong_promotion_rate"])} in groups.
- Under drift the promise is about the nights of the trial: a gain that turns into a loss before the last of them can still be promoted.
- Fresh labels that favour the champion's answer (people accept what they are shown) are not simulated.
"""


def _choices(document: Found) -> str:
    """The table of what could have been chosen otherwise."""
    if "choices" not in document:
        return ""
    pairs = [(s, c) for s in SETTINGS for c in ("better_5pt", "late_5pt")]
    lines = [
        _line(["ours, but", "most wrong lives", *(f"{s} {c}" for s, c in pairs)]),
        _line(["---"] + ["--:"] * (1 + len(pairs))),
    ]
    for row in document["choices"]:
        wrong = max(one["wrong_promotion_rate"] for key, one in row.items() if key != "choice")
        cells = [_nights(row[f"{s}.{c}"]) for s, c in pairs]
        lines.append(_line([row["choice"], _share(wrong), *cells]))
    return f"""## What else could have been chosen

Nights to promote, median and 90th percentile. All of these keep the guarantee, "each challenger for itself" of every single one; "only questions count as told" does so only where no row of a trial is ever held out.

{chr(10).join(lines)}

Of the ways to share the trials' budget, the steep ones serve the first trials and the flat ones the late; n**-1.5 lies between, and needs no end to be known.
Half of the budget for the holdout lets a gain be promoted in its first night; a quarter would serve late and small gains somewhat better.
Every stake is paid for by the others; smaller ones are for gains too small to be shown within a trial.
Without `restart_growth` none stays, so that the luck of one night's training is lost; a greater one holds on longer to a challenger that learned from less than there is now, which the simulation does not charge for: a challenger here never gets better with more data.
Counting the verdicts on trials as told costs little, because the holdout decides early or not at all.
"""


def _nights(row: Found) -> str:
    """Median and 90th percentile of the nights until a gain was promoted."""
    if row["promoted_better_rate"] == 0:
        return ""
    shown = [row[name] for name in ("median_nights_to_promote", "nights_to_promote_90")]
    median, slow = ("never" if one is None else str(one) for one in shown)
    return f"{median} ({slow})"


def _share(value: float) -> str:
    return f"{100 * value:.1f} %"


def _few(row: Found, name: str = "median_nights_to_promote") -> str:
    count = row[name]
    return "no number of nights" if count is None else f"{count} night{'s' if count != 1 else ''}"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
