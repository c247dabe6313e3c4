"""The method that is proposed is the best one whose nights the machine has time for."""

from __future__ import annotations

import pytest

from flywheel.onboarding.method_choice import Speed, Work, minutes, named, propose

ENGLISH = ["the parcel has not come yet and nobody answers my questions about where it is"] * 30
GERMAN = ["das Paket ist immer noch nicht da und niemand beantwortet meine Fragen dazu"] * 30
JAPANESE = ["荷物がまだ届きません"] * 30
WORK = Work(train=300, holdout=100, tokens=27, epochs=3)


def asked(gflops: float) -> str:
    return propose(ENGLISH, WORK, lambda: Speed(gflops, "measured")).name


def test_a_slower_machine_gets_a_cheaper_method() -> None:
    assert [asked(gflops) for gflops in (100, 1, 0.01)] == ["qlora", "frozen_head", "tfidf"]


def test_the_estimate_is_within_a_factor_of_two_of_a_measured_night() -> None:
    # 300 labels in three epochs took 154 s where products make 105 GFLOP/s
    estimate = minutes("qlora", "smollm2-135m-instruct", Work(300, 0, 27, 3), 105)
    assert 0.5 < 60 * estimate / 154 < 2


@pytest.mark.parametrize(("texts", "language"), [(GERMAN, "de"), (JAPANESE, "ja")])
def test_texts_that_the_small_bases_have_not_read_get_the_honest_baseline(
    texts: list[str], language: str
) -> None:
    def speed() -> Speed:
        raise AssertionError("nothing depends on it")

    method = propose(texts, WORK, speed)
    assert (method.name, method.base) == ("tfidf", None)
    assert f"look like {language}" in method.why


def test_a_named_method_gets_a_base_that_it_works_on() -> None:
    assert named("tfidf").base is None
    assert named("setfit").base == named("frozen_head").base == "minilm-l6"
    assert named("lora").base == "smollm2-135m-instruct"
