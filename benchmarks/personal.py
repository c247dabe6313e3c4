"""How much personal data is found, and how much else is taken for it.

    python -m benchmarks.personal --json

Each kind is written the ways people of many countries write it and put into a customer's sentence;
beside these stand sentences full of numbers that are nobody's: order numbers, prices, dates, times,
versions, tracking and serial numbers, sizes, ISBNs. Recall of a kind is the share of its sentences
from which the whole value is gone, replaced by that kind; precision is the share of its
replacements, over all sentences, that replaced a value of that kind. Intervals are Wilson's, 95 %.

What this does not measure: anything but the formats below. In particular names that were not
given, postal addresses, dates of birth, national identity numbers, handles, numbers in words, local
numbers without an area code, and bare digits that no word introduces as a phone number. The
formats and the detector have one author, so customers' own texts will read lower.
"""

from __future__ import annotations

import argparse
import ipaddress
import json
import random
import time
from collections import Counter
from collections.abc import Callable

import phonenumbers
from phonenumbers import PhoneNumberFormat, PhoneNumberType
from stdnum import luhn
from stdnum.iso7064 import mod_97_10

from flywheel.stats.paired_tests import wilson_interval
from flywheel.text.pii import KINDS, REGIONS, redact

_CARRIERS = (
    "Please write to me: {}.",
    "My details are {}, thanks!",
    "you can use {} from now on",
    "I gave {} to your colleague last week and nothing happened.",
    "({}) is what I have on file",
    "Hello, here it is again: {} - please fix this today",
    "{} was rejected twice by your website",
    "Why do you still have {}?",
)
_PHONE_CARRIERS = (
    "Please call me on {}.",
    "my number is {}, thanks",
    "Tel: {}",
    "You can reach me at {} after six.",
    "Nobody rang back ({}) since monday!",
    "{} is my mobile",
    "Whatsapp {} please",
    "Regards, Kim, {}",
)
_ABROAD = "US GB DE FR ES IT NL IN AU BR CH AT BE SE NO DK FI PL CZ PT IE GR TR ZA JP KR SG MX AE"
_GIVEN = "Ann Bob Chiara Dmitri Elif Femi Grace Hiro Ines Jürgen Kofi Leïla Mateo Nadia Óscar Priya"
_FAMILY = "Lee Novak O'Brien Schmidt-Weber García Müller Okafor Rossi Sato Þórsson Nguyen van Dijk"
_BANKS = {  # letters of the account part: n digits, a letters, per country
    "DE": "n18", "GB": "a4n14", "FR": "n23", "ES": "n20", "IT": "a1n22", "NL": "a4n10",
    "BE": "n12", "AT": "n16", "CH": "n17", "SE": "n20", "NO": "n11", "DK": "n14", "FI": "n14",
    "PL": "n24", "PT": "n21", "IE": "a4n14", "CZ": "n20", "GR": "n23", "TR": "n22", "AE": "n19",
}  # fmt: skip


def _email(draw: random.Random) -> str:
    first, last = (_plain(draw.choice(names.split())) for names in (_GIVEN, _FAMILY))
    local = draw.choice(
        (f"{first}.{last}", f"{first}{draw.randint(1, 99)}", f"{first}+shop", f"{first[0]}_{last}")
    )
    host = draw.choice(("example", "mail", "post-office", "uni.example", "bücher"))
    end = draw.choice(("com", "org", "co.uk", "de", "io", "museum", "com.br"))
    address = f"{local}@{host}.{end}"
    style = draw.randrange(10)
    if style == 0:
        return address.replace("@", " (at) ").replace(".", " dot ")
    if style == 1:
        return address.replace("@", "[at]")
    if style == 2:
        return f"{local} at mail dot com".replace(".", " dot ")
    return address.upper() if style == 3 else address


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isascii() and letter.isalpha())


def _phone(draw: random.Random) -> str:
    region = draw.choice(_ABROAD.split())
    kind = draw.choice((PhoneNumberType.MOBILE, PhoneNumberType.FIXED_LINE))
    number = phonenumbers.example_number_for_type(region, kind)
    while True:
        digits = phonenumbers.national_significant_number(number)
        varied = digits[:-4] + f"{draw.randrange(10_000):04d}"
        code = phonenumbers.country_code_for_region(region)
        candidate = phonenumbers.parse(f"+{code}{varied}")
        if phonenumbers.is_valid_number(candidate):
            break
    forms = [PhoneNumberFormat.E164, PhoneNumberFormat.INTERNATIONAL]
    if region in REGIONS:
        forms += [PhoneNumberFormat.NATIONAL] * 2
    written = phonenumbers.format_number(candidate, draw.choice(forms))
    return draw.choice((written, written, written.replace("-", " "), written.replace(" ", "-")))


def _card(draw: random.Random) -> str:
    prefix, length = draw.choice(
        (("4", 16), ("4", 16), ("51", 16), ("2221", 16), ("37", 15), ("6011", 16), ("36", 14),
         ("3530", 16), ("6212", 16), ("5018", 16))
    )  # fmt: skip
    digits = prefix + "".join(draw.choices("0123456789", k=length - len(prefix) - 1))
    digits += luhn.calc_check_digit(digits)
    sizes = {15: (4, 6, 5), 14: (4, 6, 4)}.get(length, (4, 4, 4, 4))
    gap = draw.choice((" ", "-", ""))
    parts, at = [], 0
    for size in sizes:
        parts.append(digits[at : at + size])
        at += size
    return gap.join(parts)


def _iban(draw: random.Random) -> str:
    country, shape = draw.choice(sorted(_BANKS.items()))
    account = ""
    for part in shape.replace("a", " a").replace("n", " n").split():
        letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if part[0] == "a" else "0123456789"
        account += "".join(draw.choices(letters, k=int(part[1:])))
    number = country + mod_97_10.calc_check_digits(account + country) + account
    style = draw.randrange(3)
    if style == 0:
        return number
    spaced = " ".join(number[at : at + 4] for at in range(0, len(number), 4))
    return spaced if style == 1 else spaced.lower()


def _ip(draw: random.Random) -> str:
    if draw.random() < 0.6:
        first = draw.choice((10, 84, 172, 192, 203))
        return ".".join(str(part) for part in (first, *draw.choices(range(255), k=3)))
    address = ipaddress.IPv6Address(0x20010DB8 << 96 | draw.getrandbits(64))
    return draw.choice((address.compressed, address.exploded))


def _name(draw: random.Random) -> str:
    given, family = draw.choice(_GIVEN.split()), draw.choice(_FAMILY.split())
    name = draw.choice((given, f"{given} {family}"))
    return draw.choice((name, name, name.upper(), name.lower()))


def _harmless(draw: random.Random) -> str:
    def digits(count: int) -> str:
        return str(draw.randint(1, 9)) + "".join(draw.choices("0123456789", k=count - 1))

    day, month, year = draw.randint(1, 28), draw.randint(1, 12), draw.randint(1995, 2029)
    return draw.choice(
        (
            f"Order {digits(draw.randint(6, 12))} has not arrived.",
            f"order number: {digits(3)}-{digits(7)}-{digits(7)}",
            f"Invoice no. {digits(10)} was paid on {day:02d}.{month:02d}.{year}.",
            f"ref {digits(3)}-{digits(3)}-{digits(4)} since {year}-{month:02d}-{day:02d}",
            f"It cost {draw.randint(1, 9)}.{digits(3)},{digits(2)} € instead of ${digits(3)}.99!",
            f"I paid {digits(2)},{digits(3)},{digits(3)}.00 in total",
            f"Between {year} and {year + 1}, so {year}-{year + 1}, it was fine.",
            f"On {month}/{day}/{year} at {day % 24}:{digits(2)[:1]}5 nobody answered.",
            f"version {draw.randint(1, 9)}.{draw.randint(0, 30)}.{draw.randint(0, 30)} is slow",
            f"since update {draw.randint(1, 9)}.{draw.randint(0, 30)}.{draw.randint(0, 9)}."
            f"{draw.randint(0, 9)} it crashes",
            f"127.{draw.randint(0, 254)}.{digits(2)}.{digits(2)} is this machine",
            f"Windows 10.0.{digits(5)}.{digits(4)}",
            f"tracking {digits(22)} shows nothing, nor does 1Z{digits(16)}",
            f"ISBN 978-{draw.randint(0, 9)}-{digits(3)}-{digits(5)}-{draw.randint(0, 9)} is torn",
            f"EAN {digits(13)} on the box",
            f"serial SN{digits(9)} and model {digits(3)}-{digits(4)}",
            f"{digits(4)} x {digits(4)} px, {digits(3)}% zoom, {digits(2)}.{digits(6)}",
            f"open 09:30-18:45 and 10:00:{draw.randint(10, 59)}, rated 4.5/5 by {digits(5)} people",
            f"@{draw.choice(_GIVEN.split()).lower()}{digits(2)} said logo@2x.png looks bad",
            f"it happened {digits(10)} seconds after 1970, at {digits(13)} ms",
            f"batch {digits(4)} {digits(4)} {digits(4)} of {digits(8)} units",
            f"Zip {digits(5)}-{digits(4)}, room {digits(3)}, floor {draw.randint(1, 40)}",
            f"look at the polka dot dress, size {draw.randint(34, 46)} (at {digits(2)} % off)",
            f"std::vector 12:30:45 and a::b, mac 00:1a:2b:3c:4d:{digits(2)}",
            f"case {digits(8)}, ticket #{digits(10)}, id={digits(11)}",
        )
    )


_WRITERS: dict[str, Callable[[random.Random], str]] = {
    "EMAIL": _email, "PHONE": _phone, "CARD": _card, "IBAN": _iban, "IP": _ip, "NAME": _name
}  # fmt: skip


def measure(rows: int = 1_000, seed: int = 0) -> dict[str, object]:
    """Recall and precision of each kind on ``rows`` sentences of it, and as many harmless per kind.

    Every name that occurs is given, as is one that does not occur.
    """
    draw = random.Random(seed)
    hits: Counter[str] = Counter()
    right: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    spoilt = 0
    started = time.perf_counter()
    for kind, write in _WRITERS.items():
        for _ in range(rows):
            value = write(draw)
            carrier = draw.choice(_PHONE_CARRIERS if kind == "PHONE" else _CARRIERS)
            names = (value, "Zora") if kind == "NAME" else ("Zora",)
            done = redact(carrier.format(value), names=names)
            hits[kind] += done.text == carrier.format(f"[{kind}]")
            right[kind] += kind in done.found
            wrong.update(done.found)
            wrong[kind] -= kind in done.found
    for _ in range(rows * len(_WRITERS)):
        done = redact(_harmless(draw), names=("Zora",))
        wrong.update(done.found)
        spoilt += bool(done.found)
    took = time.perf_counter() - started
    figures: dict[str, object] = {
        "rows_per_kind": rows,
        "harmless_rows": rows * len(_WRITERS),
        "harmless_rows_changed": spoilt,
        "us_per_text": round(took / (2 * rows * len(_WRITERS)) * 1e6, 1),
    }
    for kind in KINDS:
        replaced = right[kind] + wrong[kind]
        figures[kind] = {
            "recall": round(hits[kind] / rows, 4),
            "recall_interval": _rounded(wilson_interval(hits[kind], rows)),
            "precision": round(right[kind] / replaced, 4) if replaced else None,
            "precision_interval": _rounded(wilson_interval(right[kind], replaced)),
        }
    return figures


def _rounded(interval: tuple[float, float]) -> list[float]:
    return [round(end, 4) for end in interval]


def measure_speed(rows: int = 100_000, seed: int = 0) -> dict[str, float]:
    """Seconds for ``rows`` customers' texts of which 5 % hold personal data and 10 % numbers."""
    from benchmarks.near_duplicates import sentences

    draw = random.Random(seed)
    texts, _ = sentences(rows, seed)
    for at in range(0, rows, 20):
        texts[at] += " " + _WRITERS[draw.choice(KINDS)](draw)
        texts[at + 1] += " " + _harmless(draw)
        texts[at + 2] += " " + _harmless(draw)
    started = time.perf_counter()
    for text in texts:
        redact(text)
    return {"redact_rows": rows, "redact_s": round(time.perf_counter() - started, 2)}


def main() -> None:
    """Print the figures, as JSON or one a line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000, help="sentences for each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    figures = measure(asked.rows, asked.seed) | measure_speed(seed=asked.seed)
    if asked.json:
        print(json.dumps(figures))
    else:
        print("\n".join(f"{name}: {value}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
