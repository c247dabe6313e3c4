"""Nights, people and faults at once around one champion, over and over; drawn from a seed.

    python -m tests.promotion_chaos --runs 200 --seed 0

Each run copies a home with a real MLflow registry on SQLite and lets two to five actors loose on
it, each in a forked process of its own: nights that promote or wait, `flywheel approve` and
`rollback`, the poll, and a person who moves or deletes the alias or sets tags past flywheel. Some
are killed with SIGKILL between two calls to the registry, some lose the registry there, and some of
those are lived again. Then one settling with a healthy registry must leave exactly one champion.
A line of JSON for each run; exit code 1 when any run ended otherwise. The seed
decides who comes and what befalls them, the machine how their processes interleave.

What it does not cover: power cuts, and homes on several machines that share one registry.
"""

from __future__ import annotations

import argparse
import collections
import importlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from flywheel.config import Home
from flywheel.errors import FlywheelError, RegistryUnavailable
from flywheel.records import NightRecord
from tests.nights import AS_OF, CASE, DAY

ROOT = Path(__file__).resolve().parent.parent
STARTS = {"one champion": 1, "two champions": 1, "waiting": 3, "old home": 1}
"""What a run starts from, and how often."""
TAMPERED = "5"
NOBODY_LISTENS = "http://127.0.0.1:9"
REFUSED, BROKEN, KILLED = 3, 1, -signal.SIGKILL
# a fault strikes at one of so many calls to the registry, or not at all when there are fewer
MOST_CALLS = 14


# ---- Actors: what each does in its own process


@dataclass(frozen=True)
class Actor:
    """Who does what to which version, how late, and what befalls them at which call."""

    name: str
    version: str
    delay_s: float
    fault: str
    call: int
    day: int

    def __str__(self) -> str:
        struck = f" {self.fault}@{self.call}" if self.fault != "none" else ""
        return f"{self.name} {self.version}{struck}"


def night(home: Home, actor: Actor) -> None:
    """Settle, find the champion, take a while, and promote over it or wait."""
    from flywheel.tracking.registry import CHAMPION, Registry
    from tasks.champion.reconcile import settle
    from tasks.coordination.locks import only_night
    from tasks.promote import await_approval, move_champion

    at = AS_OF + actor.day * DAY
    with only_night(home, CASE.name):
        settle.fn(CASE, home, at=at)
        registry = Registry(home)
        opponent = registry.by_alias(CASE.name, CHAMPION)
        time.sleep(actor.delay_s)
        challenger = registry.by_version(CASE.name, actor.version)
        if opponent and opponent.version == challenger.version:
            return
        if actor.name == "waiting night":
            await_approval.fn(home, challenger, use_case=CASE, against=opponent)
        else:
            move_champion.fn(home, challenger, use_case=CASE, at=at, against=opponent)


def approve(home: Home, actor: Actor) -> None:
    from tasks.champion.approve import approve as by_command

    at = AS_OF + actor.day * DAY + timedelta(hours=9)
    by_command(CASE, home, actor.version, by="ann", reject=actor.name == "reject", at=at)


def rollback(home: Home, actor: Actor) -> None:
    from tasks.champion.rollback import rollback as by_command

    to = actor.version if actor.name == "rollback to" else None
    at = AS_OF + actor.day * DAY + timedelta(hours=10)
    by_command(CASE, home, to=to, at=at, who="ann", why="chaos")


def poll(home: Home, actor: Actor) -> None:
    from tasks.champion.reconcile import settle_if_free

    settle_if_free(CASE, home, at=AS_OF + actor.day * DAY + timedelta(hours=11))


def person(home: Home, actor: Actor) -> None:
    """Somebody in MLflow, who holds no lock of ours."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(home.mlflow_uri)
    try:
        _decide(client, actor)
    except MlflowException as error:
        # two who move an alias at once: MLflow lets one of them fail
        raise RegistryUnavailable(str(error)) from error


def _decide(client: Any, actor: Actor) -> None:
    if actor.name == "person deletes":
        client.delete_registered_model_alias(CASE.name, "champion")
    elif actor.name == "person moves":
        client.set_registered_model_alias(CASE.name, "champion", actor.version)
    else:
        wish = "rejected" if actor.name == "person rejects" else "approved"
        client.set_model_version_tag(CASE.name, actor.version, "approval", wish)


ACTORS: dict[str, Callable[[Home, Actor], None]] = {
    "night": night,
    "another night": night,
    "waiting night": night,
    "approve": approve,
    "reject": approve,
    "rollback": rollback,
    "rollback to": rollback,
    "poll": poll,
    "person moves": person,
    "person deletes": person,
    "person approves": person,
    "person rejects": person,
}

MOVERS = {"night": 3, "another night": 3, "approve": 3, "rollback": 3, "poll": 2}
"""How often some are drawn; the others count one."""

# ---- Faults


class StruckClient:
    """MLflow's client, until the fault strikes before or after one of its calls."""

    actor: Actor
    calls = 0

    def __init__(self, tracking_uri: str) -> None:
        from mlflow import MlflowClient

        self._client = MlflowClient(tracking_uri=tracking_uri)

    def __getattr__(self, name: str) -> Any:
        whole = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self._strike("before")
            answer = whole(*args, **kwargs)
            self._strike("after")
            return answer

        return call

    def _strike(self, when: str) -> None:
        from mlflow.exceptions import MlflowException

        fault, kind = StruckClient.actor.fault, StruckClient
        kind.calls += when == "before"
        if fault == f"killed {when}" and kind.calls == kind.actor.call:
            os.kill(os.getpid(), signal.SIGKILL)
        # a registry that went away stays away; after a call, its answer is what got lost
        if fault == f"registry down {when}" and kind.calls >= kind.actor.call:
            raise MlflowException("the registry does not answer")


FAULTS = (
    "killed before",
    "killed after",
    "registry down before",
    "registry down after",
    "registry unreachable",
)


def act(home: Home, actor: Actor) -> None:
    """One actor in this process, with the fault that befalls them."""
    import flywheel.tracking.registry

    time.sleep(actor.delay_s)
    if actor.fault == "registry unreachable":
        os.environ["MLFLOW_TRACKING_URI"] = NOBODY_LISTENS
        os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "0"
    elif actor.fault != "none":
        StruckClient.actor = actor
        flywheel.tracking.registry.MlflowClient = StruckClient  # type: ignore[attr-defined]
    ACTORS[actor.name](home, actor)


# ---- Processes


def fork(home: Home, work: Callable[[], None]) -> int:
    """Do ``work`` in a child: 0 done, 3 refused on purpose, 1 broken, -9 killed."""
    pid = os.fork()
    if pid:
        return pid
    code = BROKEN
    try:
        out = os.open(home.root / "chaos.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.environ["FLYWHEEL_HOME"] = str(home.root)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        work()
        code = 0
    except FlywheelError as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        code = REFUSED
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def wait(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(number: int, *, seed: int, starts: dict[str, Home], place: Path) -> dict[str, Any]:
    """One run: what happened, and what is wrong afterwards, which should be nothing."""
    from tests import champions

    chance = random.Random(f"{seed}-{number}")
    (start,) = chance.choices(list(STARTS), list(STARTS.values()))
    home = champions.copy(place / f"run-{number}", source=starts[start])
    actors = [cast(chance, day) for day in range(3, 3 + chance.randint(2, 5))]
    pids = [fork(home, lambda actor=actor: act(home, actor)) for actor in actors]  # type: ignore[misc]
    ends = [wait(pid) for pid in pids]
    again = [
        actor
        for actor, end in zip(actors, ends, strict=True)
        if end != 0 and chance.random() < 0.5 and not actor.name.startswith("person")
    ]
    for actor in again:
        calm = Actor(actor.name, actor.version, 0.0, "none", 0, actor.day)
        ends.append(wait(fork(home, lambda calm=calm: act(home, calm))))  # type: ignore[misc]
    wrong = ["an actor broke" for end in ends if end == BROKEN]
    if wait(fork(home, lambda: settle_and_look(home))) != 0:
        wrong.append("the last settling failed")
    found = home.root / "found.json"
    seen = json.loads(found.read_text()) if found.is_file() else {"wrong": ["nothing was seen"]}
    wrong += seen.pop("wrong")
    log = (home.root / "chaos.log").read_text() if wrong else None
    shutil.rmtree(home.root)
    told = {"run": number, "start": start, "actors": [str(a) for a in actors], "ends": ends}
    return {**told, "again": [a.name for a in again], **seen, "wrong": wrong, "log": log}


def cast(chance: random.Random, day: int) -> Actor:
    """Any actor, often with a fault; a person is never struck."""
    (name,) = chance.choices(list(ACTORS), [MOVERS.get(name, 1) for name in ACTORS])
    struck = chance.random() < 0.6 and not name.startswith("person")
    anyone = name in ("person moves", "rollback to", "person approves")
    return Actor(
        name=name,
        version=chance.choice(["1", "2", "3", "4", TAMPERED] if anyone else ["2", "3"]),
        delay_s=chance.random() * 0.3,
        fault=chance.choice(FAULTS) if struck else "none",
        call=chance.randint(1, MOST_CALLS),
        day=day,
    )


def settle_and_look(home: Home) -> None:
    """Settle once with a healthy registry, and note everything that is not as it must be."""
    from flywheel.tracking.registry import CHAMPION, Registry
    from flywheel.tracking.version_tags import APPROVAL, MOVING, WAITING
    from tasks.champion.move import champions
    from tasks.champion.reconcile import fault_of, settle_if_free

    late = AS_OF + 30 * DAY
    wrong = []
    if settle_if_free(CASE, home, at=late) is None:
        wrong.append("a lock was left behind")
    registry = Registry(home)
    versions = registry.versions(CASE.name)
    holders = [one.version for one in versions if CHAMPION in one.aliases]
    log = champions(home, CASE.name)
    if len(holders) != 1:
        wrong.append(f"champions: {holders}")
    elif (fault := fault_of(CASE, home, holders[0])) is not None:
        wrong.append(f"the champion is not what was measured: {fault}")
    if [log[-1].version] != holders:
        wrong.append(f"the log names {log[-1].version}, the alias {holders}")
    if len({(p.action, p.version, p.before, p.at) for p in log}) != len(log):
        wrong.append("a step is on record twice")
    for earlier, later in itertools.pairwise(log):
        if later.action != "restored" and later.before != earlier.version:
            wrong.append(f"{later.version} came after {later.before}, not {earlier.version}")
    wrong += [f"version {v.version} is still on its way" for v in versions if MOVING in v.tags]
    wrong += [
        f"the decision on version {v.version} was not carried out"
        for v in versions
        if v.tags.get(WAITING) == "true" and APPROVAL in v.tags
    ]
    again = settle_if_free(CASE, home, at=late + DAY)
    if again is None or again.promotions:
        wrong.append("settling once was not enough")
    story = [f"{p.action} {p.version}" for p in log]
    found = {"champion": holders, "story": story, "wrong": wrong}
    (home.root / "found.json").write_text(json.dumps(found))


# ---- Homes to start from


def build(place: Path) -> None:
    """The four homes that runs start from."""
    from flywheel.store import open_store
    from flywheel.store.nights import night_runs
    from tasks.promote import await_approval
    from tests import champions, nights

    made = champions.copy(place / "made")
    with nights.living_in(made):
        adapter = made.adapters / TAMPERED
        digest = nights.make_adapter(made, adapter, seed=int(TAMPERED))
        version = nights.register(made, adapter, digest, champion_before="1")
        assert version.version == TAMPERED
        champions.tamper(made, TAMPERED)
    for start in STARTS:
        home = champions.copy(folder(place, start), source=made)
        with nights.living_in(home):
            if start == "two champions":
                champions.promote(home, "2", against="1", day=1)
            if start == "waiting":
                for number in ("2", "3"):
                    await_approval.fn(
                        home,
                        champions.version(home, number),
                        use_case=CASE,
                        against=champions.version(home, "1"),
                    )
            if start == "old home":
                first = champions.version(home, "1")
                facts = {"version": "1"}
                with open_store(home.warehouse) as store:
                    store.con.execute("DELETE FROM promotions")
                    night_runs.record(
                        store,
                        CASE.name,
                        NightRecord(
                            AS_OF,
                            "promoted",
                            [],
                            facts,
                            snapshot_id="s",
                            digest=first.digest,
                            recorded_at=AS_OF,
                        ),
                    )


def folder(place: Path, start: str) -> Path:
    return place / start.replace(" ", "-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--homes", type=Path, help="what `build` left; made anew without")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build(given.build)
        return
    # every process below starts from one that has these, and that has opened no registry
    for module in (
        "mlflow.pyfunc",
        "mlflow.store.model_registry.sqlalchemy_store",
        "mlflow.store.tracking.sqlalchemy_store",
        "tasks.champion.approve",
        "tasks.champion.rollback",
        "tasks.promote",
        "tests.champions",
        "transformers.models.auto.tokenization_auto",
        "transformers.models.llama.configuration_llama",
    ):
        importlib.import_module(module)
    bad, ends = 0, collections.Counter[str]()
    with tempfile.TemporaryDirectory(prefix="flywheel-chaos-") as name:
        place = Path(name)
        homes = given.homes or place
        if not given.homes:
            made = [sys.executable, "-m", "tests.promotion_chaos", "--build", name]
            subprocess.run(made, cwd=ROOT, check=True, stdout=sys.stderr)
        starts = {start: Home(folder(homes, start)) for start in STARTS}
        for number in range(given.first, given.first + given.runs):
            told = run(number, seed=given.seed, starts=starts, place=place)
            bad += bool(told["wrong"])
            ends.update(str(end) for end in told["ends"])
            print(json.dumps(told), flush=True)
    print(json.dumps({"runs": given.runs, "bad": bad, "ends": ends}), flush=True)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
