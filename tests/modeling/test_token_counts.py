"""How many tokens texts have, and what `init` proposes: no script is read in part unsaid."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from flywheel.config import Home
from flywheel.modeling import token_counts
from flywheel.onboarding import classification
from tasks.use_case.onboard import Answers, onboard
from tests.tokenizers import make_tokenizer, save_tokenizer

TEXTS = {
    "Thai": "กล่องพัสดุของฉันยังไม่มาถึงเลยและแอปบอกว่าส่งแล้ว",
    "Chinese": "我的包裹还没有到，应用却说已经送达了，请帮我查一下。",  # noqa: RUF001
    "Hindi": "मेरा पार्सल अब तक नहीं आया और ऐप कहता है कि वह पहुँच गया है",
    "Arabic": "لم يصل طردي بعد والتطبيق يقول إنه تم التسليم",
    "Russian": "Моя посылка ещё не пришла, а приложение пишет, что она доставлена",  # noqa: RUF001
    "English": "My parcel has not come yet and the app says that it was delivered",
}


def proposed(rows: list[str], home: Home, folder: Path) -> tuple[int, list[str], str]:
    """max_length_tokens, the warnings, and the YAML of what `init` makes of texts."""
    path = folder / "x.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["text", "label"])
        table.writerows((f"{text} {n}", "ab"[n % 2]) for n, text in enumerate(rows))
    answers = Answers(method="qlora")
    done = onboard("x", path, home, folder=folder / "usecases", answers=answers)
    written = Path(done["file"]).read_text(encoding="utf-8")
    cut = [warning for warning in done["warnings"] if "lose their end" in warning]
    return yaml.safe_load(written)["training"]["max_length_tokens"], cut, written


@pytest.mark.parametrize("script", TEXTS)
def test_without_the_base_every_script_gets_room_for_its_bytes(
    script: str, home: Home, tmp_path: Path
) -> None:
    text = TEXTS[script]
    worst = make_tokenizer("byte-level", begins=False, words=("x",))
    needed = len(worst(text).input_ids)
    longest, warnings, written = proposed([text] * 400, home, tmp_path)
    if script != "English":
        assert longest > needed
    assert longest < 3 * needed
    assert not warnings
    assert "the base is not on disk yet" in written


def test_with_the_base_lengths_come_from_its_own_tokenizer(home: Home, tmp_path: Path) -> None:
    base = home.models / classification.BASE
    base.mkdir(parents=True)
    save_tokenizer("byte-level", base, words=tuple(TEXTS["Russian"].split()))
    text = " ".join([TEXTS["Russian"]] * 5)
    longest, warnings, written = proposed([text] * 400, home, tmp_path)
    (counted,) = token_counts.counting(base).of([text])
    assert counted <= longest <= counted + 64
    assert longest < token_counts.bounds([text])[0] / 2
    assert not warnings
    assert "counted by the base's own tokenizer" in written


def test_texts_that_lose_their_end_are_counted_with_the_longest(home: Home, tmp_path: Path) -> None:
    rows = ["short"] * 390 + [TEXTS["Chinese"] * 40] * 10
    longest, warnings, _ = proposed(rows, home, tmp_path)
    assert longest == classification.MOST_TOKENS
    (warning,) = warnings
    assert warning.startswith("10 of 400 texts may lose their end: the longest has about ")
    assert f"training.max_length_tokens is {classification.MOST_TOKENS}" in warning


def test_half_a_surrogate_pair_is_counted(tmp_path: Path) -> None:
    save_tokenizer("byte-level", tmp_path)
    for counting in (token_counts.counting(tmp_path), token_counts.counting(tmp_path / "none")):
        assert counting.of(["a\ud83d"])[0] >= 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    # as the default base's own tokenizer counts them
    [
        ("Order 8391-2239-00412 was charged 129.95 EUR on 2026-03-14 11:52:07", 48),
        ("ERR 0x7f3a9c2b [10.0.4.17:5432] retry=3/5 uid=a9f3-22bc-91de code=E1107", 54),
        ("DE89370400440532013000 GB29NWBK60161331926819", 41),
        ("Moja paczka jeszcze nie dotarła, a aplikacja pisze że została dostarczona", 39),
        ("My parcel has not come yet and the app says that it was delivered", 14),
    ],
)
def test_numbers_and_half_foreign_letters_get_room(text: str, tokens: int) -> None:
    (told,) = token_counts.bounds([text])
    assert tokens <= told < 2 * tokens
